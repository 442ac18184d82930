from __future__ import annotations

import logging
from pathlib import Path

import pytest

from inceptcli.data.folders import LabeledImages, positions
from inceptcli.data.label_files import evaluation_images, images_to_train_on, lists_images
from inceptcli.data.sources import FolderSource
from inceptcli.errors import UsageError, UserError
from inceptcli.weights.imagenet_classes import imagenet_classes
from tests.data.class_folders import draw

IDS = ("n03", "n01", "n02")
NAMES = ("cat", "dog", "fox")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def listed(
    folder: Path, text: str, ids: tuple[str, ...] = IDS, names: tuple[str, ...] = NAMES
) -> LabeledImages:
    folder.mkdir(exist_ok=True)
    (folder / "list.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    return evaluation_images(folder / "list.csv", ids, names).images


def test_a_label_is_an_id_or_a_name_or_a_place_from_0(tmp_path: Path) -> None:
    images = listed(tmp_path, "path,label\r\na.jpg,n01\r\nb/c.jpg,fox\r\n\r\nd.jpg, 0\r\n")
    assert images.classes == IDS
    assert tuple(images.labels) == (1, 2, 0)
    assert images.paths == (tmp_path / "a.jpg", tmp_path / "b/c.jpg", tmp_path / "d.jpg")


def test_other_columns_are_ignored_and_any_order_will_do(tmp_path: Path) -> None:
    images = listed(tmp_path, '\ufeffClass_Index,note,FILE\n2,"a, b\nc",x.jpg\n1,,"y, z.jpg"\n')
    assert tuple(images.labels) == (2, 1)
    assert images.paths == (tmp_path / "x.jpg", tmp_path / "y, z.jpg")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("b.jpg,n09", "line 3: label n09 is not a class of the weights"),
        ("b.jpg,Cat", "line 3: label Cat is not a class of the weights"),
        ("b.jpg,3", "line 3: label 3 is not a class of the weights; they are numbered 0 to 2"),
        ("b.jpg,-1", "line 3: label -1 is not a class"),
        ("b.jpg,1.0", "line 3: label 1.0 is not a class"),
        ("b.jpg,٣", "line 3: label ٣ is not a class"),
        ("b.jpg", "line 3: lacks a path or a label"),
        ("b.jpg,", "line 3: lacks a path or a label"),
        (",dog", "line 3: lacks a path or a label"),
        ("a.jpg,cat", "line 3: a.jpg is already listed in line 2"),
        ("./x/../a.jpg,dog", r"line 3: ./x/../a.jpg is already listed in line 2"),
        ("../b.jpg,dog", r"line 3: path ../b.jpg leaves the file's folder; --allow-outside"),
        ("/b.jpg,dog", "line 3: path /b.jpg leaves the file's folder; --allow-outside"),
        ('"b.jpg,dog', "line 3: unexpected end of data"),
        ("b.jpg,dog,cat", "line 3: has 3 fields, the header 2; separate labels by ; in a column"),
        ("b.jpg,dog;cat", "line 3: label dog;cat has a ;, but .* name the column labels for sev"),
        ("b.jpg,k\udce4se", r"line 3: label k\\udce4se is not valid UTF-8; save the file as UTF-8"),
    ],
)
def test_a_row_that_cannot_be_meant_is_named_by_its_line(
    row: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said) as raised:
        listed(tmp_path, f"path,label\na.jpg,cat\n{row}\n")
    assert str(tmp_path / "list.csv") in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_place_is_not_understood_where_classes_are_numbers(tmp_path: Path) -> None:
    ids = ("1", "2", "10")
    assert tuple(listed(tmp_path, "path,label\na.jpg,10\nb.jpg,1\n", ids, ids).labels) == (2, 0)
    with pytest.raises(UserError, match="line 2: label 0 is not a class of the weights"):
        listed(tmp_path, "path,label\na.jpg,0\n", ids, ids)


@pytest.mark.parametrize("names", [("crane", "dog", "crane"), ("n01", "crane", "dog")])
def test_a_label_of_two_classes_is_refused(names: tuple[str, ...], tmp_path: Path) -> None:
    label = names[0]
    with pytest.raises(UserError, match=f"line 2: label {label} names several classes"):
        listed(tmp_path, f"path,label\na.jpg,{label}\n", IDS, names)


def test_a_file_name_that_is_not_utf_8_keeps_its_bytes(tmp_path: Path) -> None:
    assert listed(tmp_path, "path,label\nk\udce4se.jpg,cat\n").paths[0].name == "k\udce4se.jpg"


def test_a_path_may_not_leave_the_folder_of_a_csv_that_is_named_by_a_relative_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    Path("l.csv").write_text("path,label\n../secret.jpg,cat\n")
    with pytest.raises(UserError, match=r"line 2: path ../secret.jpg leaves the file's folder"):
        evaluation_images(Path("l.csv"), IDS, NAMES)


def test_links_in_the_folder_are_followed_as_those_in_class_folders(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/cat.jpg").touch()
    (tmp_path / "in").mkdir()
    (tmp_path / "in/folder").symlink_to("../out")
    (tmp_path / "in/file.jpg").symlink_to("../out/cat.jpg")
    (tmp_path / "seen").symlink_to("in")
    rows = "path,label\nfolder/cat.jpg,cat\nfile.jpg,cat\n"
    for name in ("in", "seen"):
        folder = tmp_path / name
        expected = (folder / "folder/cat.jpg", folder / "file.jpg")
        assert listed(folder, rows).paths == expected
    with pytest.raises(UserError, match=r"path folder/../../a.jpg leaves the file's folder"):
        listed(tmp_path / "in", "path,label\nfolder/../../a.jpg,cat\n")


def test_paths_may_leave_the_folder_when_told(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label\n../a.jpg,cat\n/b.jpg,dog\n")
    images = evaluation_images(tmp_path / "list.csv", IDS, NAMES, allow_outside=True).images
    assert images.paths == (tmp_path.parent / "a.jpg", Path("/b.jpg"))


@pytest.mark.parametrize("text", ["", "a.jpg,cat\n", "path\na.jpg\n", "label,class_index\n1,1\n"])
def test_a_first_line_that_names_no_columns_is_wrong_use(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the first line must name the columns path,label"):
        listed(tmp_path, text)


def test_a_file_that_lists_nothing_and_one_that_is_no_csv_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lists no images"):
        listed(tmp_path, "path,label\n")
    touch(tmp_path, "list.txt")
    with pytest.raises(UsageError, match=r"must be a folder, or a \.csv file"):
        evaluation_images(tmp_path / "list.txt", IDS, NAMES)


def test_class_folders_are_still_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "n02/ILSVRC2012_val_00000001.JPEG")
    assert not lists_images(tmp_path)
    assert lists_images(tmp_path / "n02")


NAME = "ILSVRC2012_val_{:08}.JPEG"


def flat(
    root: Path, images: str, labels: str, text: str, synsets: str = "n01 n02 n03"
) -> tuple[list[int], list[int]]:
    """Numbers and labels of three images in root/`images`, where `labels` is a file of `text`."""
    touch(root / images, *(NAME.format(number) for number in (7, 3, 50000)), "x.jpg")
    (root / labels).write_bytes(text.encode(errors="surrogateescape"))
    (root / labels).with_name("synsets.txt").write_text(synsets.replace(" ", "\n"))
    found = evaluation_images(root, IDS, NAMES)
    assert {path.parent for path in found.images.paths} == {root / images}
    return [int(path.stem[-8:]) for path in found.images.paths], [
        place for label in found.images.labels for place in positions(label)
    ]


LINES = [NAME.format(7), NAME.format(3), NAME.format(50000)]


@pytest.mark.parametrize("images", ["", "images", "val"])
@pytest.mark.parametrize("place", ["beside", "inside"])
def test_the_flat_folder_numbers_synsets_in_the_order_of_their_list(
    images: str, place: str, tmp_path: Path
) -> None:
    root = tmp_path / "imagenet"
    (root / images).mkdir(parents=True)
    folder = "./" if place == "beside" else f"./{images}/"
    text = "".join(f"{line} {number}\n" for number, line in enumerate(LINES))
    # 7 is the first synset, n01, which these weights have in place 1.
    assert flat(root, images, f"{folder}val.txt", text) == ([3, 7, 50000], [2, 1, 0])
    text = "file,class_index\n" + "".join(f"{line},{2 - n}\n" for n, line in enumerate(LINES))
    assert flat(root, images, f"{folder}labels.csv", text) == ([3, 7, 50000], [2, 0, 1])


@pytest.mark.parametrize("images", ["ILSVRC/Data/CLS-LOC/val", "val", "."])
def test_kaggles_file_of_boxes_labels_its_images(images: str, tmp_path: Path) -> None:
    touch(tmp_path / images, *LINES)
    file = tmp_path / "LOC_val_solution.csv"
    boxes = [
        f"{Path(line).stem},{id} 85 1 499 272 {id} 2 3 4 5 "
        for line, id in zip(LINES, IDS, strict=True)
    ]
    file.write_text("\r\n".join(["ImageId,PredictionString", *boxes]))
    for data in (file, tmp_path / images):
        found = evaluation_images(data, IDS, NAMES).images
        numbers = [int(path.stem[-8:]) for path in found.paths]
        assert (numbers, list(found.labels)) == ([3, 7, 50000], [1, 0, 2])


def test_kaggles_file_without_its_images_or_columns_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "LOC_val_solution.csv"
    file.write_text("ImageId,Boxes\n")
    with pytest.raises(UsageError, match="its images are neither in"):
        evaluation_images(file, IDS, NAMES)
    touch(tmp_path / "val", *LINES)
    file.write_text(f"ImageId,PredictionString\n{Path(LINES[0]).stem},n01 1 2,n02\n")
    with pytest.raises(UserError, match="line 2: has 3 fields, the header 2; quote a field that"):
        evaluation_images(file, IDS, NAMES)
    file.write_text("ImageId,Boxes\n")
    with pytest.raises(UsageError, match="must name the columns imageid,predictionstring, got"):
        evaluation_images(file, IDS, NAMES)


def test_the_flat_folder_takes_ids_and_the_order_of_the_list(tmp_path: Path) -> None:
    text = f"{LINES[0]} n03\n{LINES[1]} fox\n\n{LINES[2]} 0\n"
    assert flat(tmp_path, "images", "val.txt", text)[1] == [2, 0, 1]
    assert flat(tmp_path, "images", "val.txt", text, "n02 n01 n03")[1] == [2, 0, 2]
    with pytest.raises(UserError, match="line 4: label 0 means n09, which is not a class"):
        flat(tmp_path, "images", "val.txt", text, "n09 n01 n03")


def test_numbers_without_a_list_are_those_of_all_of_imagenet_only(tmp_path: Path) -> None:
    ids = [entry.id for entry in imagenet_classes()]
    touch(tmp_path, LINES[0])
    (tmp_path / "val.txt").write_text(f"{LINES[0]} 999\n")
    assert tuple(evaluation_images(tmp_path, ids[::-1], ids[::-1]).images.labels) == (0,)
    (tmp_path / "val.txt").write_text(f"{LINES[0]} 3\n")  # of ten synsets it may mean another
    with pytest.raises(UserError, match=r"line 1: label 3 is a number, which needs synsets\.txt"):
        evaluation_images(tmp_path, ids[:10], ids[:10])


def test_an_image_without_a_label_is_an_error_and_a_label_without_one_a_note(
    tmp_path: Path,
) -> None:
    text = "".join(f"{line} 1\n" for line in LINES)
    with pytest.raises(UserError, match=rf"{LINES[1]}: not in .*val\.txt \(2 of 3 images lack"):
        flat(tmp_path, "images", "val.txt", text.splitlines()[0])
    (tmp_path / "val.txt").write_text(text + f"{NAME.format(9)} 1\n")
    (note,) = evaluation_images(tmp_path, IDS, NAMES).notes
    assert note.startswith("1 of the 4 images in ")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (f"{LINES[0]} 0", "line 4: .* is listed twice"),
        ("alone", "line 4: must be a name and a label"),
        (f"{NAME.format(8)} \udce9", r"line 4: label \\udce9 is not valid UTF-8; save the file"),
        (f"{NAME.format(8)} 3", "line 4: label 3 is not a class of the weights; they are numbered"),
    ],
)
def test_a_line_of_val_txt_that_cannot_be_meant_is_named(
    line: str, said: str, tmp_path: Path
) -> None:
    text = "".join(f"{name} 1\n" for name in LINES)
    with pytest.raises(UserError, match=said):
        flat(tmp_path, "images", "val.txt", f"{text}{line}\n")


def test_the_devkits_own_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="numbers the classes 1 to 1000 in the devkit's own order"):
        flat(tmp_path, "images", "ILSVRC2012_validation_ground_truth.txt", "490\n361\n171\n")
    (tmp_path / "ILSVRC2012_validation_ground_truth.txt").unlink()
    with pytest.raises(UserError, match=r"images: no labels; put labels\.csv"):
        evaluation_images(tmp_path, IDS, NAMES)


@pytest.mark.parametrize(
    "text",
    [
        "path,labels\na.jpg,n01;cat\nb.jpg, 2 \nc.jpg,fox;dog;cat\n",
        "dog,path,FOX,patient,fox,n03\n1,a.jpg,x,p1,0,1\n0,b.jpg,,p1,1, 0\n1,c.jpg,y,p2,1,1\n",
    ],
    ids=["one column", "a column per class"],
)
def test_an_image_may_have_several_labels(text: str, tmp_path: Path) -> None:
    assert tuple(listed(tmp_path, text).labels) == ((0, 1), (2,), (0, 1, 2))


def test_empty_fields_beyond_the_header_are_no_labels(tmp_path: Path) -> None:
    assert tuple(listed(tmp_path, "path,label\na.jpg,n01,, \nb.jpg,fox,\n").labels) == (1, 2)


def test_a_name_with_a_semicolon_may_be_a_class(tmp_path: Path) -> None:
    assert tuple(listed(tmp_path, "path,label\na.jpg,a;b\n", ("a;b", "c"), ("d", "e")).labels) == (
        0,
    )


def test_columns_left_out_are_told_except_that_of_groups(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    listed(tmp_path, "path,label,patient,,Site\na.jpg,cat,p1,0,s1\n")
    trained_on(tmp_path, "Site,path,labels\n1,a.jpg,cat\n")
    listed(tmp_path, "path,n01,n02,n03,Site\na.jpg,1,0,0,1\n")
    evaluation_images(tmp_path / "list.csv", IDS, NAMES, group=" site")
    assert [line.partition(": ")[2] for line in caplog.messages] == [
        "left out columns patient, Site",
        "left out column Site",
        "left out column Site",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,cat,dog,label\na.jpg,1,0,1\nb.jpg, 0,1,0\n", "label has only 0 and 1, as have cat"),
        ("path,label,sex\na.jpg,1,0\n", "as have sex: rename it if it is a class; if it has the"),
        ("path,label\na.jpg,cat\nb.jpg,cat;dog\n", "line 3: label cat;dog has a ;"),
        ("path,label\na.jpg,n0,n1\n", "line 2: has 3 fields, the header 2"),
        ("path,label\na.jpg,\udce9\n", r"line 2: label \\udce9 is not valid UTF-8; save the file"),
        ("path,labels\na.jpg,a;\udce9\n", r"line 2: label \\udce9 is not valid UTF-8"),
        ("path,dog,\udce9\na.jpg,1,0\n", r"line 1: column \\udce9 is not valid UTF-8; save"),
    ],
)
def test_own_classes_are_not_taken_from_a_row_that_may_mean_something_else(
    text: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=said):
        images_to_train_on(tmp_path / "list.csv", allow_unlabeled=True)


def test_columns_beside_labels_that_are_no_classes_may_be_numbers(tmp_path: Path) -> None:
    assert tuple(listed(tmp_path, "path,label,sex\na.jpg,1,0\nb.jpg,0,1\n").labels) == (1, 0)
    text = "path,label,sex\na.jpg,1,0\nb.jpg,0,2\n"
    assert trained_on(tmp_path, text).classes == ("0", "1")
    with pytest.raises(UserError, match="label has only 0 and 1, as have cat: rename"):
        listed(tmp_path, "path,label,cat,sex\na.jpg,1,0,7\nb.jpg,0,1,0\n")


def trained_on(
    folder: Path, text: str, classes: tuple[str, ...] | None = None, *, unlabeled: bool = False
) -> LabeledImages:
    (folder / "list.csv").write_text(text)
    return images_to_train_on(folder / "list.csv", classes, allow_unlabeled=unlabeled)


def test_classes_to_train_on_are_sorted_labels_or_columns_in_their_order(tmp_path: Path) -> None:
    images = trained_on(tmp_path, "path,labels\nb.jpg,fox;cat\na.jpg,\n", unlabeled=True)
    assert (images.classes, images.labels) == (("cat", "fox"), ((0, 1), ()))
    images = trained_on(tmp_path, "fox,path,cat\n1,b.jpg,0\n0,a.jpg,0\n")
    assert (images.classes, images.labels) == (("fox", "cat"), ((0,), ()))
    images = trained_on(tmp_path, "path,label\nb.jpg,fox\na.jpg,cat\n")
    assert (images.classes, tuple(images.labels), images.root) == (("cat", "fox"), (1, 0), tmp_path)
    images = trained_on(tmp_path, "path,labels\nb.jpg,fox\n", ("fox", "cat"))
    assert (images.classes, images.labels) == (("fox", "cat"), ((0,),))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "path,labels\na.jpg,cat;cow\n",
            "line 2: label cow is not one of the 2 classes trained on",
        ),
        ("path,labels\na.jpg,cat\nb.jpg,0\n", "line 3: label 0 is not one of the 2 classes"),
        ("path,labels\na.jpg,cat\nb.jpg, \n", "line 3: has no label; data.allow_unlabeled"),
        ("path,labels\na.jpg,cat;\n", "line 2: labels cat; has an empty label"),
        ("path,labels\na.jpg,cat;fox;cat\n", "line 2: label cat is given twice"),
        ("path,labels\na.jpg\n", "line 2: lacks a path or a label"),
        ("path,label\na.jpg,\n", "line 2: lacks a path or a label"),
        ("path,cat,fox\na.jpg,1,0\nb.jpg,2,0\n", "line 3: column cat must be 0 or 1, got 2"),
        ("path,cat,fox\na.jpg,1,\n", "line 2: column fox must be 0 or 1, got nothing"),
        ("path,cat,fox\na.jpg,1\n", "line 2: lacks a path or a label"),
        ("path,cat,fox,cat\na.jpg,1,0,1\n", "line 1: column cat is there twice"),
        ("path,labels,labels\na.jpg,cat,cat\n", "line 1: column labels is there twice"),
        ("path,cat\na.jpg,1\n", r"line 1: lacks the columns of 1 classes \(fox\)"),
        (
            "path,labels\na.jpg,cat,fox\n",
            "line 2: has 3 fields, the header 2; separate labels by ;",
        ),
        ("path,labels,\na.jpg,cat,fox\n", "line 2: has 3 fields, the header 2; separate labels"),
        ("path,cat,fox\na.jpg,1,0,1\n", "line 2: has 4 fields, the header 3; quote a field"),
        ("path,label\na.jpg,cat;fox\n", "line 2: label cat;fox has a ;, but column label has one"),
        ("path,labels\n../a.jpg,cat\n", "line 2: path ../a.jpg leaves the file's folder; put"),
        ("path,labels\na.jpg,cat\na.jpg,fox\n", "line 3: a.jpg is already listed in line 2"),
    ],
)
def test_a_bad_row_of_images_to_train_on_is_named_by_its_line(
    text: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=said):
        trained_on(tmp_path, text, ("cat", "fox"))


def test_a_file_to_train_on_has_one_column_of_labels_and_enough_classes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has a column label and a column labels; remove one"):
        trained_on(tmp_path, "path,label,labels\na.jpg,cat,cat\n")
    with pytest.raises(UserError, match="at least two classes are needed, got only cat"):
        trained_on(tmp_path, "path,label\na.jpg,cat\n")
    with pytest.raises(UserError, match="at least one class is needed"):
        trained_on(tmp_path, "path,labels\na.jpg,\n", unlabeled=True)
    with pytest.raises(UserError, match="line 2: column patient must be 0 or 1, got p1; name"):
        trained_on(tmp_path, "path,cat,patient\na.jpg,1,p1\n")
    with pytest.raises(UsageError, match=r"none\.csv: no such file"):
        images_to_train_on(tmp_path / "none.csv", allow_unlabeled=False)


def test_absolute_paths_inside_the_folder_are_as_relative_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    draw(Path("data"), 4)
    paths = [path.relative_to("data") for path in sorted(Path("data").rglob("*.png"))]
    for name, start in (("relative.csv", Path()), ("absolute.csv", tmp_path / "data")):
        rows = [f"{start / path},{path.parent}" for path in paths]
        Path("data", name).write_text("\n".join(["path,label", *rows]) + "\n")
        for data in (Path("data", name), tmp_path / "data" / name):
            images = FolderSource(images_to_train_on(data, allow_unlabeled=False))
            assert list(images.names()) == [str(path) for path in paths]
    twice = ["path,label", f"{paths[0]},ant", f"{tmp_path / 'data' / paths[0]},bee"]
    Path("data/twice.csv").write_text("\n".join(twice) + "\n")
    with pytest.raises(UserError, match="line 3"):
        images_to_train_on(Path("data/twice.csv"), allow_unlabeled=False)
