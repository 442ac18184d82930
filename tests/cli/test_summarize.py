import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inceptcli.cli.app import app
from inceptcli.cli.summarize import EPILOG
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.networks.registry import NETWORKS, build, network_options
from inceptcli.weights.file import save
from inceptcli.weights.metadata import ClassName, WeightsMetadata

STAGE_FIELDS = ["name", "figure", "repeats", "output_shape", "parameters", "multiply_adds"]


def summarize(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["summarize", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_printed_picture_is_what_it_prints() -> None:
    picture = Path(__file__).parents[2] / ".github/pictures/irv2.txt"
    assert [line.rstrip() for line in summarize("irv2").splitlines()] == (
        picture.read_text().splitlines()
    )


def refusal(*arguments: str) -> str:
    """The one line on stderr of a usage error."""
    result = CliRunner().invoke(app, ["summarize", *arguments])
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory whose weights file describes a small network; nobody reads its tensors."""
    metadata = WeightsMetadata(
        network_options("irv1", num_classes=2, repeats=(1, 1, 1), width=0.5),
        (ClassName("n01", "cat"), ClassName("n02", "dog")),
        Preprocessing(image_size=(96, 128), resize="squash"),
        epoch=12,
        averaged=True,
        metrics={"top1": 0.75},
    )
    save(tmp_path / "model.safetensors", {}, metadata)
    return tmp_path


def test_json_has_the_documented_fields_and_its_stages_sum_to_the_totals() -> None:
    fields = json.loads(summarize("irv2", "--format", "json"))
    assert list(fields) == [
        *("name", "layout", "num_classes", "image_size", "parameters", "multiply_adds"),
        *("stages", "options", "preprocessing"),
    ]
    assert (fields["name"], fields["num_classes"]) == ("irv2", 1000)
    assert fields["layout"].startswith("paper")
    assert fields["image_size"] == fields["preprocessing"]["image_size"] == [299, 299]
    assert fields["parameters"] == 32_433_928
    assert round(fields["multiply_adds"] / 1e9, 3) == 9.258
    assert all(list(stage) == STAGE_FIELDS for stage in fields["stages"])
    for total in ("parameters", "multiply_adds"):
        assert sum(stage[total] for stage in fields["stages"]) == fields[total]


def test_json_follows_image_size_and_number_of_classes() -> None:
    options = ("--image-size", "75x139", "--num-classes", "10", "--format", "json")
    fields = json.loads(summarize("irv1", *options))
    assert (fields["image_size"], fields["num_classes"]) == ([75, 139], 10)
    assert fields["stages"][5]["output_shape"] == [1792, 1, 3]
    assert fields["stages"][-1]["output_shape"] == [10]


def test_table_says_which_layout_it_is_and_shows_each_stage() -> None:
    table = summarize("irv2-tf")
    assert table.startswith("irv2-tf: Inception-ResNet-v2 (released by its authors")
    assert "1000 classes, images of 299x299 pixels" in table
    row = next(line for line in table.splitlines() if "inception_b" in line)
    for part in ("Figure 17", "1088x17x17", "22,535,680", "6,498.8 M"):
        assert part in row
    total = next(line for line in table.splitlines() if "Total" in line)
    assert "55,843,464" in total
    assert "13.156 G" in total
    assert "Pixel values 0 and 255 become -1 and 1." in table


def test_depth_two_adds_a_row_for_each_layer() -> None:
    stages, layers = summarize("irv1"), summarize("irv1", "--depth", "2")
    assert "inception_a.4.linear" not in stages
    row = next(line for line in layers.splitlines() if "inception_a.4.linear" in line)
    for part in ("1x1 linear", "256x35x35", "24,832", "30.1 M"):
        assert part in row
    assert set(stages.splitlines()[-2:]) < set(layers.splitlines())


def test_weights_describe_their_own_network(run: Path) -> None:
    for weights in (run, run / "model.safetensors"):
        table = summarize(str(weights))
        assert table.startswith("irv1: Inception-ResNet-v1 (paper, Figures 7 and 10-15)\n")
        assert "moving average of the weights, after epoch 12, top1 0.75\n" in table
        assert "2 classes, images of 96x128 pixels\n" in table
        assert "Not the network's defaults: width 0.5, repeats [1, 1, 1]\n" in table
        assert "87.5 % of each side is resized to 96x128" in table
    fields = json.loads(summarize(str(run), "--format", "json"))
    assert (fields["num_classes"], fields["image_size"]) == (2, [96, 128])
    assert fields["preprocessing"]["resize"] == "squash"
    linear = 3 * 16 * 128 + 128
    convolutions = 128 * 3 * 16 + 3 * 9 * 16 * 16 + 6 * 2 * 16
    assert fields["stages"][1]["parameters"] == linear + convolutions  # as the options say
    assert (fields["options"]["width"], fields["options"]["repeats"]) == (0.5, [1, 1, 1])


def test_image_size_overrides_that_of_the_weights(run: Path) -> None:
    fields = json.loads(summarize(str(run), "--image-size", "75", "--format", "json"))
    assert fields["image_size"] == fields["preprocessing"]["image_size"] == [75, 75]


def test_a_network_is_found_before_a_file_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("iv4").mkdir()
    assert summarize("iv4").startswith("iv4: Inception-v4")


def test_wrong_use_is_refused_in_one_line(run: Path) -> None:
    unknown = refusal("resnet")
    assert unknown.startswith("Error: resnet: neither a network nor a weights file; networks: iv4,")
    assert unknown.endswith(", ".join(NETWORKS))
    too_small = "Error: image size must be at least 75x75 pixels, got"
    assert refusal("iv4", "--image-size", "74") == f"{too_small} 74x74"
    assert refusal("iv4", "--image-size", "299x74") == f"{too_small} 299x74"
    for size in ("wide", "299x", "-299", "299x299x3", "2.5"):
        assert refusal("iv4", "--image-size", size) == (
            f"Error: --image-size must be N or HxW pixels (299 or 240x320), got '{size}'"
        )
    assert refusal(str(run), "--num-classes", "3") == (
        f"Error: --num-classes needs the name of a network; the weights {run} have 2 classes"
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("resnet",),
        ("iv4", "--image-size", "74"),
        ("iv4", "--num-classes", "0"),
        ("--help",),
    ],
)
def test_usage_errors_and_help_import_no_torch(arguments: tuple[str, ...]) -> None:
    code = (
        "import sys\n"
        "from inceptcli.cli.app import app\n"
        "try:\n"
        "    app(sys.argv[1:])\n"
        "finally:\n"
        "    print('torch' in sys.modules)\n"
    )
    command = [sys.executable, "-c", code, "summarize", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stdout.splitlines()[-1] == "False"


def test_help_names_every_network() -> None:
    words = summarize("--help").replace(",", " ").replace("(", " ").replace(")", " ").split()
    assert set(NETWORKS) <= set(words)


def test_examples_are_commands_of_this_file() -> None:
    examples = [line for line in EPILOG.splitlines() if line.startswith("  ")]
    assert len(examples) == 5
    assert all(line.startswith("  inceptcli summarize ") for line in examples)


def test_two_networks_are_compared_box_by_box() -> None:
    table = summarize("iv4", "iv4-tf")
    assert table.startswith("iv4: Inception-v4 (paper, Figures 3-9), 42,679,816 parameters\n")
    row = next(line for line in table.splitlines() if "inception_c.each.twice.1" in line)
    assert "1x3 conv, 448 wide" in row
    assert "3x1 conv, 448 wide" in row
    assert table.splitlines()[-1] == (
        "Equal: inception_a, reduction_a, reduction_b, average_pooling, dropout, classifier"
    )
    fields = json.loads(summarize("irv2", "irv2-tf", "--format", "json"))
    assert list(fields) == ["first", "second", "image_size", "equal", "options", "stages"]
    assert fields["second"]["parameters"] == 55_843_464
    assert fields["equal"] is False
    stage = next(stage for stage in fields["stages"] if stage["name"] == "inception_b")
    assert (stage["first"]["repeats"], stage["second"]["repeats"]) == (10, 20)
    box = stage["boxes"][0]
    assert box["box"] == "inception_b.each.direct.0"
    first = {"kind": "1x1 conv", "width": 192, "parameters": 221_568, "multiply_adds": 63_922_176}
    second = {"kind": "1x1 conv", "width": 192, "parameters": 209_280, "multiply_adds": 60_370_944}
    assert (box["first"], box["second"]) == (first, second)


def test_equal_networks_are_said_to_be_equal(run: Path) -> None:
    assert summarize("irv2", "irv2").splitlines()[-1] == "The networks are equal."
    assert json.loads(summarize(str(run), str(run), "--format", "json"))["equal"] is True
    compared = summarize("irv1", str(run))
    assert "num_classes" in compared
    assert "(1, 1, 1)" in compared


def test_a_figure_is_drawn_beside_the_table(tmp_path: Path) -> None:
    file = tmp_path / "irv1.SVG"
    assert summarize("irv1", "--figure", str(file)) == summarize("irv1")
    assert "5 x Inception-resnet-A" in file.read_text()
    assert list(tmp_path.iterdir()) == [file]


def test_a_figure_that_cannot_be_is_refused_in_one_line(tmp_path: Path) -> None:
    for name, said in (
        ("figure.jpg", "must end with .svg, .png, .pdf"),
        ("missing/figure.svg", "No such file or directory"),
    ):
        line = refusal("irv1", "--figure", str(tmp_path / name))
        assert line == f"Error: --figure {tmp_path / name}: {said}"
    both = "Error: --figure and --depth 2 need a single network; omit OTHER"
    assert refusal("irv1", "irv2", "--figure", "both.svg") == both


def test_it_is_said_where_weights_come_from(tmp_path: Path) -> None:
    metadata = WeightsMetadata(
        network_options("irv1", num_classes=2, repeats=(1, 1, 1)),
        (ClassName("0", "class 0"), ClassName("1", "class 1")),
        Preprocessing((96, 96)),
        averaged=True,
        source_sha256="ab" * 32,
        source={"family": "timm, X", "weights": "state_dict_ema", "commit": "c0ffee"},
        assumed=["mean", "std"],
        unnamed=True,
        environment={"torch": "2.11", "devices": "2 x cpu"},
    )
    save(tmp_path / "model.safetensors", {}, metadata)
    lines = summarize(str(tmp_path)).splitlines()
    assert lines[1:6] == [
        "moving average of the weights",
        f"imported from timm, X: source sha256 {'ab' * 32}, weights state_dict_ema, commit c0ffee",
        "trained with torch 2.11, devices 2 x cpu",
        "assumed at import: mean, std",
        "its classes are unnamed",
    ]
    weights = json.loads(summarize(str(tmp_path), "--format", "json"))["weights"]
    assert weights["source"]["commit"] == "c0ffee"
    assert (weights["averaged"], weights["environment"]["devices"]) == (True, "2 x cpu")


def test_a_measure_that_is_no_number_is_null(tmp_path: Path) -> None:
    options = network_options("irv1", num_classes=2, width=0.05)
    classes = (ClassName("a", "a"), ClassName("b", "b"))
    metrics = {"val_top1": float("nan"), "val_loss": 1.5}
    network = build(options)
    file = tmp_path / "a.safetensors"
    metadata = WeightsMetadata(options, classes, Preprocessing((75, 75)), metrics=metrics)
    save(file, network.state_dict(), metadata)
    text = summarize(str(file), "--format", "json")
    assert "NaN" not in text
    assert json.loads(text)["weights"]["metrics"] == {"val_top1": None, "val_loss": 1.5}
