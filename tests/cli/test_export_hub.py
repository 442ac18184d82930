"""`export --to hub`: what timm loads, and a model card that says what is known."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image

from inceptcli.data.pixels.decode import decode
from inceptcli.data.pixels.normalization import normalize
from inceptcli.data.pixels.preprocessing import Preprocessing
from inceptcli.evaluation.measures import wilson_interval
from inceptcli.evaluation.recorded_measures import Measures, measures_of_run
from inceptcli.networks.registry import build, network_options
from inceptcli.weights.file import copy_with_metadata, load_network, read_metadata, save
from inceptcli.weights.hub_folder import without_places
from inceptcli.weights.metadata import ClassName, WeightsMetadata
from tests.cli.conftest import TINY, check_one_line, inceptcli
from tests.prediction.conftest import draw, save_small_network
from tests.training.test_failures import no_file_larger_than
from tests.weights.loopback_hub import COMMIT, serving

VIEW = Preprocessing((96, 96), "short-side", 0.9, "bilinear", (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
CLASSES = (ClassName("n1", "cat"), ClassName("n2", "dog | <b>wolf</b>"), ClassName("n3", "`elk`"))


def timms(path: Path, view: Preprocessing = VIEW, **changes: Any) -> Path:
    """Weights of a network that timm has; answers differ."""
    torch.manual_seed(0)
    options = network_options("iv4-tf", num_classes=3)
    network = build(options)
    with torch.no_grad():
        network.get_parameter("classifier.weight").mul_(40)
    save(path, network.state_dict(), WeightsMetadata(options, CLASSES, view, **changes))
    return path


def card_of(folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """What stands before the text of a model card, and its sections by their headings."""
    text = (folder / "README.md").read_text("utf-8")
    head: dict[str, Any] = yaml.safe_load(text.split("---\n")[1])
    parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    bodies = [part.strip("\n") for part in parts[2::2]]
    return head, dict(zip(parts[1::2], bodies, strict=True))


def exported(weights: Path, output: Path, *flags: object) -> str:
    """What is said while it is written."""
    done = inceptcli("export", weights, "--to", "hub", "--output", output, *flags)
    assert (done.exit_code, done.stdout) == (0, ""), done.stderr
    return done.stderr


@pytest.mark.system
@pytest.mark.parity
def test_timm_loads_the_folder_and_sees_and_answers_the_same(tmp_path: Path) -> None:
    import timm

    weights = timms(tmp_path / "model.safetensors")
    said = exported(weights, tmp_path / "a folder", "--license", "mit")
    assert said.splitlines()[-1] == f"upload with: hf upload OWNER/NAME '{tmp_path}/a folder'"
    assert re.search("largest logit difference on 4 generated images: ", said)
    model: Any = timm.create_model(f"local-dir:{tmp_path}/a folder", pretrained=True).eval()
    transforms: Any = timm.data
    view = transforms.resolve_model_data_config(model)
    transform = transforms.create_transform(**view, is_training=False)
    network, metadata = load_network(weights)
    for number in range(3):
        picture = draw(tmp_path / f"{number}.png", number, (150 + 40 * number, 130))
        with Image.open(picture) as image:
            theirs: torch.Tensor = transform(image.convert("RGB"))[None]
        crop = torch.from_numpy(VIEW.crop(decode(picture))).permute(2, 0, 1)[None]
        ours = normalize(crop, VIEW.mean, VIEW.std)
        assert torch.allclose(theirs, ours, atol=1e-5)
        with torch.inference_mode():
            assert torch.allclose(model(theirs), network(ours), atol=1e-4)
    assert model.pretrained_cfg["label_names"] == [entry.id for entry in CLASSES]
    assert model.pretrained_cfg["label_descriptions"]["n2"] == "dog | <b>wolf</b>"
    head, _ = card_of(tmp_path / "a folder")
    assert (head["library_name"], head["license"]) == ("timm", "mit")
    files = {file.name: file.read_bytes() for file in (tmp_path / "a folder").iterdir()}
    assert sorted(files) == ["README.md", "config.json", "model.safetensors"]
    check_over_the_hub(files, weights, tmp_path, metadata)


def check_over_the_hub(
    files: dict[str, bytes], weights: Path, folder: Path, metadata: WeightsMetadata
) -> None:
    """As uploaded, timm's `hf-hub:` and ours give what the weights gave."""
    with serving(files["model.safetensors"]) as hub:
        hub.others = {"config.json": files["config.json"], "README.md": files["README.md"]}
        code = (
            "import timm, json; m = timm.create_model('hf-hub:me/pets', pretrained=True);"
            "print(json.dumps([m.num_classes, float(m.last_linear.weight.sum())]))"
        )
        environment = hub.environment(folder / "home")
        program = [sys.executable, "-c", code]
        done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
        count, total = json.loads(done.stdout)
        classifier = load_network(weights)[0].get_parameter("classifier.weight")
        assert (count, total) == (3, pytest.approx(float(classifier.detach().sum()), rel=1e-5))
        answers = []
        for name in (str(weights), "hf-hub:me/pets"):
            words = ("predict", folder / "0.png", "--weights", name, "--format", "jsonl")
            program = [sys.executable, "-m", "inceptcli", *map(str, words), "--device", "cpu"]
            done = subprocess.run(
                program, env=environment, capture_output=True, text=True, check=True
            )
            answers.append(json.loads(done.stdout)["predictions"])
        assert answers[0] == answers[1]
        kept = read_metadata(folder / f"home/inceptcli/hub/me--pets/{COMMIT}.safetensors")
        assert (kept.classes, kept.preprocessing) == (metadata.classes, metadata.preprocessing)
        assert (kept.assumed, kept.unnamed) == ([], False)


@pytest.mark.system
@pytest.mark.parity
def test_classes_without_names_and_networks_without_a_classifier_are_written_so(
    tmp_path: Path,
) -> None:
    import timm

    view = replace(VIEW, antialias=False)
    weights = timms(tmp_path / "unnamed.safetensors", view, unnamed=True, assumed=["classes"])
    said = exported(weights, tmp_path / "unnamed")
    assert "these weights are not for antialiased images: inceptcli follows this in" in said
    config = json.loads((tmp_path / "unnamed/config.json").read_text())
    assert "label_names" not in config
    assert config["antialias"] is False
    parts = card_of(tmp_path / "unnamed")[1]
    assert parts["Classes"] == "3; their names are not known."
    assert "(bilinear, not antialiased)" in parts["Preprocessing"]
    initialized = ["classifier.weight", "classifier.bias"]
    weights = timms(tmp_path / "headless.safetensors", initialized=initialized)
    exported(weights, tmp_path / "headless")
    model = timm.create_model(f"local-dir:{tmp_path}/headless", pretrained=True)
    assert model.num_classes == 0
    head, parts = card_of(tmp_path / "headless")
    assert head["pipeline_tag"] == "image-feature-extraction"
    assert parts["Classes"] == "None: the network has no trained classifier."


@pytest.mark.train
def test_the_card_of_a_run_has_its_measures_with_intervals_and_no_places(tmp_path: Path) -> None:
    for number in range(24):
        split = "train" if number % 3 else "val"
        draw(tmp_path / f"secret/pets/{split}/{'ab'[number % 2]}/{number}.png", number)
    (tmp_path / "secret/pets/val/a/broken.png").write_bytes(b"no picture")
    run = tmp_path / "secret" / "run"
    words = ("train", *TINY, "--data", tmp_path / "secret/pets", "--output", run)
    done = inceptcli(*words, "--set", "data.max_skipped=0.5")
    assert done.exit_code == 0, done.stderr
    said = exported(run, tmp_path / "out")
    assert (
        "timm does not have irv1, only iv4-tf, irv2-tf and iv3: the folder holds an inceptcli"
        in said
    )
    assert "the model card has no license; add one with --license NAME" in said
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "README.md",
        "model.safetensors",
    ]
    for file in (tmp_path / "out").iterdir():
        assert b"secret" not in file.read_bytes()
    head, parts = card_of(tmp_path / "out")
    assert (head["library_name"], head["license"]) == ("inceptcli", "unknown")
    assert parts["Data"] == "pets: 16 training images, 8 validation images."
    assert yaml.safe_load(parts["Recipe"])["data"]["path"] == "pets"
    top1 = read_metadata(run / "model.safetensors").metrics["val_top1"]
    low, high = wilson_interval(round(top1 * 8), 8)
    assert f"| top-1 accuracy | {top1:.4f} | {low:.4f} to {high:.4f} |" in parts["Measures"]
    assert "On 8 images: the run's validation images, 1 crop of each.\n" in parts["Measures"]
    found = head["model-index"][0]["results"][0]
    assert found["dataset"] == {"name": "pets", "type": "imagefolder", "split": "val"}
    assert found["metrics"][0]["value"] == pytest.approx(top1, abs=1e-6)
    folder = ("--data", tmp_path / "secret/pets", "--format", "json", "--device", "cpu")
    before = inceptcli("eval", run, *folder, "--skip-unreadable")
    after = inceptcli("eval", tmp_path / "out", *folder, "--skip-unreadable")
    assert json.loads(before.stdout)["per_class"] == json.loads(after.stdout)["per_class"]
    (tmp_path / "eval.json").write_text(before.stdout)
    exported(run, tmp_path / "out2", "--measures", tmp_path / "eval.json", "--license", "mit")
    head, parts = card_of(tmp_path / "out2")
    assert head["model-index"][0]["results"][0]["dataset"]["name"] == "not known"
    measured, values = parts["Measures"], json.loads(before.stdout)
    assert "split val, 1 crop of each image, 1 image skipped as unreadable" in measured
    for key in ("top1", "loss"):
        low, high = values[f"{key}_interval"]
        assert f"| {values[key]:.4f} | {low:.4f} to {high:.4f} |" in measured
    assert "top-5" not in (tmp_path / "out/README.md").read_text() + measured
    assert f"| macro F1 | {values['macro_f1']:.4f} | not known |" in measured


def test_names_of_strangers_are_neither_markup_nor_yaml(tmp_path: Path) -> None:
    names = ["a|b", "<script>", "`x`", "---", "a\nb: c", "[l](http://x)"]
    weights = save_small_network(tmp_path / "w.safetensors", names)
    network, metadata = load_network(weights)
    recipe = {"data": {"path": "/x/---\nlicense: evil"}, "network": {"init": "# ```\n"}}
    source = {"family": "<b>", "classes": "--classes /home/me/names.txt"}
    changed = replace(metadata, recipe=recipe, source=source, metrics={"val_top1": 0.5})
    save(weights, network.state_dict(), changed)
    exported(weights, tmp_path / "out", "--license", "cc-by-4.0")
    head, parts = card_of(tmp_path / "out")
    assert head["license"] == ModelCard.load(tmp_path / "out/README.md").data.license == "cc-by-4.0"
    rows = parts["Classes"].splitlines()[2:]
    assert [re.split(r"(?<!\\) \| ", row)[0] for row in rows] == [f"| {n}" for n in range(6)]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [4] * 6
    assert "<script>" not in "".join(parts.values())
    assert "[l](" not in "".join(parts.values())
    assert list(parts) == [
        "Use", "Classes", "Data", "Measures", "Preprocessing", "Recipe", "Origin", "License",
    ]  # fmt: skip
    assert "/home" not in "".join(parts.values())
    assert "| top-1 accuracy | 0.5000 | not known |" in parts["Measures"]


def test_a_disk_without_room_is_one_line(weights: Path, tmp_path: Path) -> None:
    command = ("export", weights, "--to", "hub", "--output", tmp_path / "out")
    with no_file_larger_than(10_000):
        check_one_line(inceptcli(*command), 1, "File too large")
    assert not (tmp_path / "out").exists()


def test_folders_of_this_machine_may_have_spaces(weights: Path) -> None:
    source = {
        "classes": "--classes /home/jane doe/secret project/train",
        "preprocessing": "/home/jane doe/x/config.json",
        "other": "own folder/config.json",
    }
    public = without_places(replace(read_metadata(weights), source=source)).source
    assert public == {
        "classes": "--classes train", "preprocessing": "config.json", "other": "own config.json",
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_measures_keep_the_intervals_of_their_bootstrap(
    kind: str, weights: Path, tmp_path: Path
) -> None:
    """A file of other weights is named."""
    own, metadata = tmp_path / "own.safetensors", read_metadata(weights)
    multi_label = {"outputs": "sigmoid", "thresholds": [0.5] * len(metadata.classes)}
    changes: dict[str, Any] = multi_label if kind == "sigmoid" else {}
    copy_with_metadata(weights, own, replace(metadata, **changes))
    rows = ["path,label,patient" if kind == "softmax" else "path,labels,patient"]
    for number in range(12):
        draw(tmp_path / f"{number}.png", number)
        rows.append(f"{number}.png,{metadata.classes[number % 3].id},p{number // 4}")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    flags = ("--bootstrap", "100", "--group", "patient", "--format", "json", "--device", "cpu")
    done = inceptcli("eval", own, "--data", tmp_path / "list.csv", *flags)
    assert done.exit_code == 0, done.output
    (tmp_path / "eval.json").write_text(done.stdout)
    said = exported(own, tmp_path / "out", "--measures", tmp_path / "eval.json")
    assert "not of" not in said
    measured, values = card_of(tmp_path / "out")[1]["Measures"], json.loads(done.stdout)
    names = {"loss": "loss (nats)", "macro_f1": "macro F1"}
    names |= {"top1": "top-1 accuracy"} if kind == "softmax" else {"average_precision": "mAP"}
    for key, name in names.items():
        low, high = {**values, **values["bootstrap"]}[f"{key}_interval"]
        assert f"| {name} | {values[key]:.4f} | {low:.4f} to {high:.4f} |" in measured
    said_of = "Intervals: 95 % percentile bootstrap, 100 resamples of 3 groups (patient)."
    assert measured.endswith(f"\n\n{said_of}")
    (tmp_path / "eval.json").write_text(json.dumps({**values, "weights": ["int8.onnx"]}))
    said = exported(own, tmp_path / "other", "--measures", tmp_path / "eval.json")
    assert f"eval.json: are of int8.onnx, not of {own}" in said


def test_the_card_names_the_options_of_its_measures_without_folders(tmp_path: Path) -> None:
    """Neither a coverage nor a threshold of two classes changes any of them."""
    own = save_small_network(tmp_path / "own.safetensors", ["healthy", "sick"])
    for number in range(4):
        draw(tmp_path / f"secret/{number}.png", number)
    labels = tmp_path / "secret" / "labels.json"
    labels.write_text(json.dumps({f"{number}.png": [number % 2] for number in range(4)}))
    words = ("--data", tmp_path / "secret", "--labels", labels, "--threshold", 0.3)
    done = inceptcli("eval", own, *words, "--format", "json", "--device", "cpu")
    assert done.exit_code == 0, done.output
    calibrated = {**json.loads(done.stdout), "coverage_level": 0.95}
    (tmp_path / "eval.json").write_text(json.dumps(calibrated))
    exported(own, tmp_path / "out", "--measures", tmp_path / "eval.json")
    measured = card_of(tmp_path / "out")[1]["Measures"]
    assert measured.startswith("On 4 images: 1 crop of each image, labels labels.json.\n")
    assert "top-5" not in (tmp_path / "out/README.md").read_text()


def test_the_threshold_of_several_labels_is_in_the_results_and_on_the_card(
    weights: Path, tmp_path: Path
) -> None:
    own, metadata = tmp_path / "own.safetensors", read_metadata(weights)
    several = replace(metadata, outputs="sigmoid", thresholds=[0.5] * len(metadata.classes))
    copy_with_metadata(weights, own, several)
    draw(tmp_path / "1.png", 1)
    (tmp_path / "list.csv").write_text(f"path,labels\n1.png,{metadata.classes[0].id}\n")
    words = ("--data", tmp_path / "list.csv", "--threshold", 0.25, "--format", "json")
    rows = tmp_path / "rows.csv"
    done = inceptcli("eval", own, *words, "--device", "cpu", "--predictions", rows)
    assert json.loads(done.stdout)["threshold"] == 0.25, done.output
    assert [line.rsplit(",")[-1] for line in rows.read_text().split()] == ["threshold", "0.25"]
    (tmp_path / "eval.json").write_text(done.stdout)
    exported(own, tmp_path / "out", "--measures", tmp_path / "eval.json")
    assert "1 crop of each image, threshold 0.25." in card_of(tmp_path / "out")[1]["Measures"]


def test_measures_of_a_run_say_on_how_many_images_its_best_epoch_was_chosen(weights: Path) -> None:
    def found(**trainer: int) -> Measures:
        changes: dict[str, Any] = {"recipe": {"trainer": trainer}, "metrics": {"val_top1": 0.5}}
        measures = measures_of_run(replace(read_metadata(weights), **changes), 8)
        assert measures is not None
        return measures

    assert (found(epochs=2).images, "chosen on them" in found(epochs=2).what) == (8, True)
    assert found(epochs=1).what == "the run's validation images, 1 crop of each"
    limited = found(epochs=2, limit_batches=1)
    assert (limited.images, limited.figures[0].interval) == (None, None)
    assert limited.what.startswith("part of the run's validation images")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_network(tmp_path_factory.mktemp("run") / "model.safetensors")


WRONG: dict[str, tuple[tuple[str, ...], str]] = {
    "a folder that is not empty": (
        ("--output", "FULL"),
        "not empty; --to hub needs a new or empty",
    ),
    "a file": (("--output", "FULL/file"), "not a folder; --to hub needs a new or empty folder"),
    "no folder above": (("--output", "none/out"), "--output none/out: No such file or directory"),
    "no license": (("--output", "out", "--license", "My own!"), "must be a license name of the"),
    "no measures": (("--output", "out", "--measures", "none"), "none: No such file or directory"),
    "other measures": (("--output", "out", "--measures", "FULL/file"), "not what `inceptcli eval"),
    "of others": (
        ("--output", "out", "--measures", "FULL/other"),
        "its classes are not those of the",
    ),
    "NaN": (
        ("--output", "out", "--measures", "FULL/nan"),
        "not what `inceptcli eval --for",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_one_line_and_leaves_nothing(
    name: str, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FULL").mkdir()
    (tmp_path / "FULL/file").write_text('{"top1": 1}')
    measured: dict[str, Any] = {
        "per_class": [{"class": "x"}], "split": "val", "images": 4, "crops": 1, "skipped": [],
        "excluded": 0, "weights": ["w"], "top1": 0.5, "top1_interval": [0.1, 0.9], "top5": 1,
        "top5_interval": [0.9, 1], "loss": 1, "loss_interval": None, "macro_f1": 0.5,
        "balanced_accuracy": 0.5,
    }  # fmt: skip
    (tmp_path / "FULL/other").write_text(json.dumps(measured))
    (tmp_path / "FULL/nan").write_text(json.dumps({**measured, "top1": float("nan")}))
    flags, said = WRONG[name]
    done = inceptcli("export", weights, "--to", "hub", *flags)
    check_one_line(done, 2, said)
    assert [path.name for path in tmp_path.iterdir()] == ["FULL"]
    assert len([*(tmp_path / "FULL").iterdir()]) == 3


def test_flags_of_the_card_are_for_the_hub_and_timm_is_named_where_it_is_missing(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("export", weights, "--to", "onnx", "--output", tmp_path / "a.onnx", "--license", "mit")
    check_one_line(inceptcli(*words), 2, "--license mit needs --to hub")
    monkeypatch.setattr("inceptcli.cli.export.find_spec", lambda name: None)
    monkeypatch.setattr("inceptcli.weights.hub_folder.lacking_in_timm", lambda options: None)
    hub = ("export", weights, "--to", "hub", "--output", tmp_path / "out")
    check_one_line(inceptcli(*hub), 1, "--to hub needs timm; pip install 'inceptcli[timm]'")
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_filled_and_a_wrong_export_leaves_it_empty(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()

    def other(images: torch.Tensor, mean: Any, std: Any) -> Any:
        return normalize(images, mean, std) + next(errors)

    errors = iter(np.repeat([0.0, 0.5], 4).tolist())
    with monkeypatch.context() as patched:
        patched.setattr("inceptcli.prediction.engines.torch_engine.normalize", other)
        words = ("export", weights, "--to", "hub", "--output", tmp_path / "out")
        check_one_line(inceptcli(*words), 1, "nothing was written")
    assert [*tmp_path.rglob("*")] == [tmp_path / "out"]
    exported(weights, tmp_path / "out")
    assert (tmp_path / "out/README.md").is_file()
    assert [*tmp_path.iterdir()] == [tmp_path / "out"]
