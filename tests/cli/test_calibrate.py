"""`inceptcli calibrate`, and what `predict`, `eval` and `export` do with its result."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyarrow.parquet import read_table

import inceptcli as package
from inceptcli.evaluation.measures import Evaluation
from inceptcli.files.file_lock import lock
from inceptcli.weights.calibration import Calibration
from inceptcli.weights.file import copy_with_metadata, load_tensors, read_metadata
from inceptcli.weights.onnx_file import without_tensors
from tests.cli.conftest import TINY, check_one_line, inceptcli, picture
from tests.prediction.conftest import CLASSES, IDS, draw

NUMBER = 26


def ran(*arguments: object) -> Any:
    done = inceptcli(*arguments)
    assert done.exit_code == 0, done.output
    return done


def rows(*arguments: object) -> list[dict[str, Any]]:
    done = ran("predict", *arguments, "--format", "jsonl", "--quiet")
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def labeled(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in class folders; the network is right about two of three."""
    root = tmp_path_factory.mktemp("labeled")
    drawn = [draw(root / f"{number}.png", number) for number in range(NUMBER)]
    for number, row in enumerate(rows(*drawn, "--weights", weights)):
        rank = 0 if number % 3 else 1 + number % 2
        place = root / "data" / IDS[row["predictions"][rank]["index"]] / drawn[number].name
        place.parent.mkdir(parents=True, exist_ok=True)
        drawn[number].rename(place)
    for name in IDS:
        (root / "data" / name).mkdir(exist_ok=True)
    return root / "data"


@pytest.fixture(scope="module")
def calibrated(weights: Path, labeled: Path) -> Path:
    """A calibrated copy of the weights."""
    copy = weights.with_name("calibrated.safetensors")
    done = ran("calibrate", weights, "--data", labeled, "--output", copy)
    assert f"wrote {copy}" in done.stderr
    assert f"{NUMBER} images: temperature " in done.stdout
    assert "     99%  needs at least 99 images" in done.stdout
    return copy


def test_weights_are_calibrated_in_place_and_keep_their_tensors(
    weights: Path, labeled: Path, calibrated: Path, tmp_path: Path
) -> None:
    (tmp_path / "run").mkdir()
    run = Path(shutil.copy(weights, tmp_path / "run" / "model.safetensors"))
    done = ran("calibrate", run.parent, "--data", labeled, "--format", "json", "--quiet")
    found = json.loads(done.stdout)
    assert done.stderr == ""
    assert (found["weights"], found["output"]) == (str(run.parent), str(run))
    assert (found["images"], found["split"], found["crops"]) == (NUMBER, "all", 1)
    assert found["loss_after"] < found["loss_before"]
    assert [level["coverage_level"] for level in found["levels"]] == [0.9, 0.95, 0.99]
    assert found["levels"][2]["threshold"] is found["levels"][2]["mean_set_size"] is None
    assert list(tmp_path.rglob("*.partial")) == []
    metadata = read_metadata(run)
    assert metadata == read_metadata(calibrated)
    assert metadata.calibration is not None
    assert metadata.calibration.temperature == found["temperature"] != 1
    before, after = load_tensors(weights), load_tensors(run)
    assert before.keys() == after.keys()
    assert all((before[key] == after[key]).all() for key in before)
    # A second time, the temperature is that of the network, not on top of the first.
    again = ran("calibrate", run, "--data", labeled, "--format", "json")
    assert json.loads(again.stdout)["temperature"] == found["temperature"]
    assert again.stderr == f"wrote {run}\n"
    before_it = package.calibrate(run, labeled, output=tmp_path / "again.safetensors").before
    assert before_it.coverage is before_it.mean_set_size is None
    shown = ran("summarize", run)
    assert f"calibrated on {NUMBER} images of {labeled}: temperature" in shown.stdout.replace(
        "\n", ""
    )
    shown = json.loads(ran("summarize", run, "--format", "json").stdout)["weights"]
    assert shown["calibration"]["images"] == NUMBER
    assert "scores" not in shown["calibration"]
    assert (
        json.loads(ran("summarize", weights, "--format", "json").stdout)["weights"]["calibration"]
        is None
    )


def test_predict_answers_with_sets_of_calibrated_probabilities(
    weights: Path, calibrated: Path, labeled: Path
) -> None:
    (labeled / IDS[0] / "text.png").write_text("text")
    try:
        done = inceptcli("predict", labeled, "--weights", calibrated, "--coverage", "0.9",
                         "--top-k", "6", "--format", "jsonl")  # fmt: skip
    finally:
        (labeled / IDS[0] / "text.png").unlink()
    assert done.exit_code == 1
    found = [json.loads(line) for line in done.stdout.splitlines()]
    calibration = read_metadata(calibrated).calibration
    assert calibration is not None
    threshold = calibration.threshold(0.9)
    assert threshold is not None
    plain = {row["path"]: row for row in rows(labeled, "--weights", weights)}
    contained = 0
    for row in found:
        assert row["coverage_level"] == 0.9
        if row["error"] is not None:
            assert row["set"] == []
            continue
        likely = [p["class"] for p in row["predictions"] if p["probability"] >= threshold]
        assert row["set"] == (likely or [row["predictions"][0]["class"]])
        before = plain[row["path"]]["predictions"][0]
        assert row["predictions"][0]["index"] == before["index"]
        assert row["predictions"][0]["probability"] != before["probability"]
        contained += CLASSES[IDS.index(Path(row["path"]).parent.name)] in row["set"]
    assert len(found) == NUMBER + 1
    assert contained >= 0.9 * NUMBER
    model = package.load(calibrated)
    answers = list(model.predict(labeled, coverage=0.9))
    assert [list(answer.set or ()) for answer in answers] == [r["set"] for r in found if r["set"]]
    assert next(iter(model.predict(labeled))).set is None
    assert "set" not in rows(labeled, "--weights", calibrated)[0]
    with pytest.raises(ValueError, match="--coverage must be above 0 and below 1"):
        model.predict(labeled, coverage=95)
    with pytest.raises(ValueError, match="is not calibrated"):
        package.load(weights).predict(labeled, coverage=0.95)


def test_tables_parquet_files_and_parts_have_the_sets(
    calibrated: Path, labeled: Path, tmp_path: Path
) -> None:
    flags = ("--weights", calibrated, "--coverage", "0.95", "--top-k", "2")
    expected = rows(labeled, *flags)
    ran("predict", labeled, *flags, "--output", tmp_path / "a.csv")
    with (tmp_path / "a.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["set"] for line in lines if line["rank"] == "1"] == [
        ("'" if row["set"][0].startswith("=") else "") + ";".join(row["set"]) for row in expected
    ]
    assert {line["set"] for line in lines if line["rank"] == "2"} == {""}
    assert {line["coverage_level"] for line in lines} == {"0.95"}
    ran("predict", labeled, *flags, "--output", tmp_path / "a.parquet")
    assert read_table(tmp_path / "a.parquet").to_pylist() == expected
    table = ran("predict", labeled, *flags).stdout
    assert table.startswith("coverage_level: 0.95\n")
    assert table.count("  set of ") == NUMBER
    for number, form in (("0/2", "jsonl"), ("1/2", "parquet")):
        ran("predict", labeled, *flags, "--shard", number, "--output", tmp_path / "parts",
            "--format", form)  # fmt: skip
    ran("merge", tmp_path / "parts", "--output", tmp_path / "merged.parquet")
    assert read_table(tmp_path / "merged.parquet").to_pylist() == expected
    merged = ran("merge", tmp_path / "parts").stdout.splitlines()
    assert [json.loads(line) for line in merged] == expected
    other = ("--shard", "0/2", "--output", tmp_path / "parts")
    again = inceptcli("predict", labeled, *flags[:3], "0.9", *flags[4:], *other)
    check_one_line(again, 2, "was started with --coverage 0.95, not 0.9")
    again = inceptcli("predict", labeled, *flags[:2], *flags[4:], *other)
    check_one_line(again, 2, "was started with --coverage 0.95, not none")


def test_eval_measures_the_coverage_and_the_sizes_of_sets(
    weights: Path,
    calibrated: Path,
    labeled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = tmp_path / "report.html"
    done = ran("eval", calibrated, "--data", labeled, "--format", "json", "--report", report)
    found = json.loads(done.stdout)
    answers = rows(labeled, "--weights", calibrated, "--coverage", "0.95")
    truths = [CLASSES[IDS.index(Path(row["path"]).parent.name)] for row in answers]
    covered = [truth in row["set"] for truth, row in zip(truths, answers, strict=True)]
    sizes = [len(row["set"]) for row in answers]
    assert found["coverage"] == sum(covered) / NUMBER
    assert found["mean_set_size"] == pytest.approx(sum(sizes) / NUMBER)
    assert found["coverage_level"] == 0.95
    low, high = found["coverage_interval"]
    assert low < found["coverage"] <= high
    for entry in found["per_class"]:
        inside = [number for number, truth in enumerate(truths) if truth == entry["name"]]
        if not inside:
            assert entry["coverage"] is entry["mean_set_size"] is None
            continue
        assert entry["coverage"] == sum(covered[n] for n in inside) / len(inside)
        assert entry["mean_set_size"] == sum(sizes[n] for n in inside) / len(inside)
    assert "Coverage" in report.read_text()
    assert "Set size" in report.read_text()
    plain = json.loads(ran("eval", weights, "--data", labeled, "--format", "json").stdout)
    assert plain["coverage"] is plain["mean_set_size"] is plain["coverage_level"] is None
    assert {entry["coverage"] for entry in plain["per_class"]} == {None}
    assert (plain["top1"], plain["confusion"]) == (found["top1"], found["confusion"])
    assert found["loss"] < plain["loss"]
    said = "were calibrated on these images, too"
    assert said in done.stderr
    monkeypatch.chdir(labeled.parent)
    for data in (labeled.name, f"./{labeled.name}/", f"{labeled.name}/../{labeled.name}"):
        assert said in ran("eval", calibrated, "--data", data).stderr
    table = ran("eval", calibrated, "--data", labeled, "--coverage", "0.8").stdout
    assert "sets for a coverage of 0.8: " in table
    assert "coverage  set size  class" in table
    result = package.evaluate(calibrated, labeled, coverage=0.8)
    assert isinstance(result, Evaluation)
    assert result.coverage is not None
    assert f"{result.coverage:.2%} contain the class" in table


def test_the_images_of_a_calibration_are_known_in_any_folder_and_others_are_not(
    weights: Path, labeled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated, said = tmp_path / "calibrated.safetensors", "were calibrated on these images, too"
    monkeypatch.chdir(labeled.parent)
    ran("calibrate", weights, "--data", labeled.name, "--output", calibrated)
    monkeypatch.chdir(tmp_path)
    moved = shutil.copytree(labeled, labeled.name)
    for data in (labeled, moved):
        assert said in ran("eval", calibrated, "--data", data).stderr
    draw(next(Path(moved).rglob("*.png")), NUMBER)
    assert said not in ran("eval", calibrated, "--data", moved).stderr


def test_eval_measures_no_sets_that_do_not_hold(
    weights: Path, calibrated: Path, labeled: Path
) -> None:
    larger = calibrated.with_name("larger.safetensors")
    metadata = read_metadata(weights)
    view = replace(metadata.preprocessing, image_size=(96, 96))
    copy_with_metadata(weights, larger, replace(metadata, preprocessing=view))
    side = str(metadata.preprocessing.image_size[0])
    asked = ("--coverage", "0.95", "--image-size", side, "--against", larger)
    assert "contain the class" in ran("eval", calibrated, "--data", labeled, *asked).stdout
    both = ran("eval", calibrated, weights, "--data", labeled, "--format", "json")
    assert json.loads(both.stdout)["coverage"] is None
    assert "no coverage is measured: --coverage needs one network" in both.stderr
    compared = ran("eval", weights, "--against", calibrated, "--data", labeled, "--format", "json")
    assert json.loads(compared.stdout)["coverage"] is None
    alone = json.loads(ran("eval", calibrated, "--data", labeled, "--format", "json").stdout)
    for flags in ([], ["--coverage", "0.95"]):
        both = ran(
            "eval", calibrated, "--against", weights, "--data", labeled, "--format", "json", *flags
        )
        assert json.loads(both.stdout)["coverage"] == alone["coverage"]
    crops = ran("eval", calibrated, "--data", labeled, "--crops", "10", "--format", "json")
    assert json.loads(crops.stdout)["coverage"] is None
    assert "was calibrated with crops 1, and its sets do not hold with crops 10" in crops.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--weights", "PLAIN", "--coverage", "0.95"], "is not calibrated; run `inceptcli calib"),
        (["--weights", "CALIBRATED", "--coverage", "95"], "above 0 and below 1"),
        (["--weights", "CALIBRATED", "--coverage", "0.99"], "at least 99 images"),
        (["--weights", "CALIBRATED", "--coverage", "0.9", "--crops", "10"], "with crops 10"),
        (["--weights", "CALIBRATED", "--weights", "PLAIN", "--coverage", "0.9"], "one network"),
    ],
)
def test_predict_refuses_sets_that_would_not_hold(
    arguments: list[str], said: str, weights: Path, calibrated: Path, labeled: Path, tmp_path: Path
) -> None:
    names = {"PLAIN": weights, "CALIBRATED": calibrated}
    given = [names.get(argument, argument) for argument in arguments]
    check_one_line(inceptcli("predict", labeled, *given), 2, said)
    output = tmp_path / "a.csv"
    check_one_line(inceptcli("predict", labeled, *given, "--output", output), 2, said)
    assert not output.exists()
    if len(arguments) == 4:
        check_one_line(inceptcli("eval", given[1], "--data", labeled, *given[2:]), 2, said)


def test_exports_keep_the_calibration(calibrated: Path, labeled: Path, tmp_path: Path) -> None:
    onnx = tmp_path / "a.onnx"
    ran("export", calibrated, "--to", "onnx", "--output", onnx)
    assert read_metadata(onnx).calibration == read_metadata(calibrated).calibration
    new = [draw(tmp_path / f"{number}.png", 200 + number) for number in range(5)]
    found = rows(*new, "--weights", onnx, "--coverage", "0.9")
    expected = rows(*new, "--weights", calibrated, "--coverage", "0.9")
    assert [row["set"] for row in found] == [row["set"] for row in expected]
    ran("export", calibrated, "--to", "hub", "--output", tmp_path / "hub")
    published = read_metadata(tmp_path / "hub" / "model.safetensors").calibration
    assert published is not None
    assert published.data == labeled.name


def test_an_onnx_file_has_no_calibration_that_it_could_not_use(
    weights: Path, labeled: Path, tmp_path: Path
) -> None:
    other, exported = tmp_path / "other.safetensors", tmp_path / "other.onnx"
    flags = "--data", labeled, "--image-size", "90", "--output", other
    assert inceptcli("calibrate", weights, *flags).exit_code == 0
    done = inceptcli("export", other, "--to", "onnx", "--output", exported)
    assert "the calibration was left out: it was made with another --image-size" in done.stderr
    assert read_metadata(exported).calibration is None


def test_an_onnx_file_keeps_a_calibration_with_options_that_it_takes(
    weights: Path, labeled: Path, tmp_path: Path
) -> None:
    other, exported = tmp_path / "other.safetensors", tmp_path / "other.onnx"
    flags = "--crop-fraction", "0.6", "--resize", "squash", "--antialias", "false"
    ran("calibrate", weights, "--data", labeled, "--output", other, *flags)
    done = inceptcli("export", other, "--to", "onnx", "--output", exported)
    assert "left out" not in done.stderr
    picture, rest = draw(tmp_path / "new.png", 200), ("--coverage", "0.9", *flags)
    (found,), (expected,) = (rows(picture, "--weights", f, *rest) for f in (exported, other))
    assert found["set"] == expected["set"]


def test_an_onnx_file_is_calibrated_like_its_weights(
    onnx_weights: Path, calibrated: Path, labeled: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(onnx_weights, tmp_path))
    ran("calibrate", copy, "--data", labeled)
    found, expected = read_metadata(copy).calibration, read_metadata(calibrated).calibration
    assert found is not None
    assert expected is not None
    assert found.temperature == pytest.approx(expected.temperature, rel=1e-4)
    assert found.scores == pytest.approx(expected.scores, abs=1e-4)
    images = [labeled.parent / "a.png"]
    draw(images[0], 99)
    before, after = (rows(*images, "--weights", name, "--top-k", "6")[0]["predictions"]
                     for name in (onnx_weights, copy))  # fmt: skip
    assert [p["index"] for p in before] == [p["index"] for p in after]
    assert without_tensors(copy, "") == without_tensors(onnx_weights, "")
    wrong = ("--output", tmp_path / "a.safetensors")
    done = inceptcli("calibrate", onnx_weights, "--data", labeled, *wrong)
    check_one_line(done, 2, "must end in .onnx, as a copy of")


def test_calibrate_refuses_what_it_must_not_change(
    weights: Path, labeled: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link.safetensors"
    link.symlink_to(weights)
    before = weights.read_bytes()
    check_one_line(inceptcli("calibrate", link, "--data", labeled), 2, "a link to")
    for name in ("imagenet", "hf-hub:me/pets"):
        done = inceptcli("calibrate", name, "--data", labeled)
        check_one_line(done, 2, f"{name}: shared weights are not changed; give --output FILE")
    wrong = ("--output", tmp_path / "a.onnx")
    check_one_line(inceptcli("calibrate", weights, "--data", labeled, *wrong), 2, "must end in")
    for same in (weights, link):
        done = inceptcli("calibrate", link, "--data", labeled, "--output", same)
        check_one_line(done, 2, "is also the input")
    away = tmp_path / "none" / "a.safetensors"
    done = inceptcli("calibrate", weights, "--data", labeled, "--output", away)
    check_one_line(done, 2, f"{away}: cannot be written: No such file or directory")
    done = inceptcli("calibrate", weights, "--data", tmp_path / "none")
    check_one_line(done, 2, "none")
    check_one_line(inceptcli("calibrate", weights), 2, "give --data")
    assert weights.read_bytes() == before


def test_multi_label_weights_are_not_calibrated(
    weights: Path, labeled: Path, tmp_path: Path
) -> None:
    file, metadata = tmp_path / "a.safetensors", read_metadata(weights)
    multi_label = replace(metadata, outputs="sigmoid")
    copy_with_metadata(weights, file, multi_label)
    done = inceptcli("calibrate", file, "--data", labeled)
    check_one_line(done, 2, "a.safetensors: has sigmoid outputs")
    for command in (["predict", labeled, "--weights", file], ["eval", file, "--data", labeled]):
        done = inceptcli(*command, "--coverage", "0.9")
        check_one_line(done, 2, f"--coverage 0.9: {file} has sigmoid outputs; prediction sets are")
    with pytest.raises(ValueError, match="has sigmoid outputs; prediction sets are for softmax"):
        package.load(file).predict(labeled, coverage=0.9)
    copy_with_metadata(weights, file, replace(multi_label, thresholds=[]))
    done = inceptcli("predict", labeled, "--weights", file)
    check_one_line(done, 1, "its metadata is damaged: thresholds must have one per class")
    calibration = Calibration(2.0, 1, (0.5,), "flowers")
    copy_with_metadata(weights, file, replace(multi_label, calibration=calibration))
    done = inceptcli("predict", labeled, "--weights", file)
    check_one_line(done, 1, "its metadata is damaged: calibration needs outputs softmax")


def test_one_image_or_none_that_is_wrong_keeps_the_temperature_at_1(
    weights: Path, tmp_path: Path
) -> None:
    drawn = [draw(tmp_path / f"{number}.png", number) for number in range(3)]
    listed = tmp_path / "labels.csv"
    lines = [f"{Path(row['path']).name},{row['predictions'][0]['index']}"
             for row in rows(*drawn, "--weights", weights)]  # fmt: skip
    for count in (3, 1):
        listed.write_text("\n".join(["path,label", *lines[:count]]) + "\n")
        output = tmp_path / "a.safetensors"
        done = ran("calibrate", weights, "--data", listed, "--output", output)
        images = "3 images" if count == 3 else "1 image"
        assert f"no class is more probable than the label of any of {images}" in done.stderr
        assert "the probabilities stay as they are (temperature 1)" in done.stderr
        found = read_metadata(output).calibration
        assert found is not None
        assert (found.temperature, found.images) == (1.0, count)
        check_one_line(
            inceptcli("predict", drawn[0], "--weights", output, "--coverage", "0.9"), 2,
            f"at least 9 images, and {output} was calibrated on {count}",
        )  # fmt: skip


def test_weights_that_are_replaced_meanwhile_are_not_written(
    weights: Path, labeled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inceptcli.evaluation.evaluate import Prepared

    run = Path(shutil.copy(weights, tmp_path / "model.safetensors"))
    measure = Prepared.measure

    def replaced(self: Prepared, *arguments: Any) -> Any:
        found = measure(self, *arguments)
        Path(shutil.copy(weights, tmp_path / "new")).rename(run)
        return found

    monkeypatch.setattr(Prepared, "measure", replaced)
    done = inceptcli("calibrate", run, "--data", labeled)
    check_one_line(done, 1, "was replaced while it was measured; calibrate it again")
    assert read_metadata(run).calibration is None
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.train
def test_a_run_is_calibrated_on_images_that_it_was_not_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for number in range(40):
        split = ("train", "val", "test")[number % 3]
        picture(Path("data", split, ("ant", "bee")[number % 2], f"{number}.png"), number)
    ran("train", *TINY, "--epochs", "2", "--data", "data", "--quiet", "--output", "run")
    for data in ("data/train", "data/train/../train"):
        done = inceptcli("calibrate", "run", "--data", data)
        check_one_line(done, 2, "a calibration needs images that the network has not seen")
    done = inceptcli("calibrate", "run", "--split", "train")
    check_one_line(done, 2, "was trained on 14 of these 14 images; a calibration needs images that")
    said = "the run's best epoch was chosen on these images"
    for arguments in ([], ["--data", "data"], ["--data", "data/val"]):
        assert said in ran("calibrate", "run", *arguments, "--output", "a.safetensors").stderr
    with Path("run/lock").open("a") as file:
        lock(file)
        done = inceptcli("calibrate", "run", "--data", "data/test")
        check_one_line(done, 2, "run: is being trained, and its next weights will have no")
        ran("calibrate", "run", "--data", "data/test", "--output", "a.safetensors")
    assert said not in ran("calibrate", "run", "--data", "data", "--split", "test").stderr
    said = "The best epoch was chosen on these images, so the figures are slightly optimistic."
    for arguments in ([], ["--data", "data/val"], ["--data", "data", "--split", "test"]):
        done = ran("eval", "run", *arguments, "--report", "report.html")
        assert (said in done.stdout) == ("test" not in arguments)
        assert (said in Path("report.html").read_text()) == ("test" not in arguments)
    Path("both.txt").write_text("ant\nbee\n")
    assert said in ran("eval", "run", "--classes", "both.txt").stdout
    assert read_metadata(Path("run/model.safetensors")).calibration is not None
    found = package.calibrate("run", "data/test", output="b.safetensors")
    assert found.calibration == read_metadata(Path("b.safetensors")).calibration
    assert inceptcli("eval", "run", "--coverage", "0.8").exit_code == 0
    # Weights of later training have no calibration.
    ran("train", *TINY, "--data", "data", "--quiet", "--init", "run", "--output", "tuned")
    assert read_metadata(Path("tuned/model.safetensors")).calibration is None
    with pytest.raises(ValueError, match="has not seen"):
        package.calibrate("run", "data/train")


@pytest.mark.train
def test_a_run_on_drawn_shapes_knows_its_validation_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran("train", *TINY, "--quiet", "--output", "run")
    check_one_line(inceptcli("calibrate", "run", "--split", "train"), 2, "was trained on these 12")
    assert "chosen on" not in ran("calibrate", "run").stderr  # of one epoch, none is chosen
    calibration = read_metadata(Path("run/model.safetensors")).calibration
    # The same command changes nothing that is done, and a longer run replaces the weights.
    ran("train", *TINY, "--quiet", "--output", "run")
    assert read_metadata(Path("run/model.safetensors")).calibration == calibration
