"""The validator names each planted defect by file and rule, and passes what is whole."""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from tasks.export import FORMATS, Format, export
from tasks.exporters.origin import read_origin
from tasks.exporters.source import Source
from tasks.label_maps import encode_grey, encode_image, encode_label
from tasks.params import InputError
from tasks.validate import Report, validate
from tasks.validators.layouts import detect, given_classes, missing, read_tree

ROOT = Path(__file__).parents[2]
LABEL = np.zeros((6, 8), np.uint8)
LABEL[2:5, 2:7] = 1
LABEL[0] = 255
IMAGE = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)


def check(tree: Path, classes: str | None = None) -> Report:
    given = given_classes(classes) if classes else None
    return validate(read_tree(tree, detect(tree), given), 2)


def found(report: Report) -> list[tuple[str, str]]:
    return [(one.file, one.rule) for one in report.findings]


def png(array: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three whole pairs in ``images`` and ``labels``, with the names of two classes."""
    root = tmp_path / "tree"
    for name in ("a", "b", "sub/c"):
        for folder, data in (("images", encode_image(IMAGE)), ("labels", encode_label(LABEL))):
            path = root / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    (root / "classes.json").write_text('["background", "car"]')
    return root


@pytest.fixture
def make_export(make_dataset: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Makes a dataset and exports it."""

    def make(form: Format, dataset: dict[str, Any] | None = None, **changes: Any) -> Path:
        root = make_dataset(**(dataset or {}))
        export(form, Source(root, read_origin(root), **changes), tmp_path / "out")
        return tmp_path / "out"

    return make


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("manifest", [True, False])
def test_what_we_export_is_whole(
    make_export: Callable[..., Path], form: Format, manifest: bool
) -> None:
    out = make_export(form, rejected=True)
    if not manifest:
        (out / "manifest.json").unlink()
    assert detect(out) == form
    report = check(out)
    assert report.findings == []
    assert report.images == 6
    # By `exported_label`: what is ignored are two columns of 12 pixels in each of 6 images.
    ignored = {row["class"]: row["pixels"] for row in report.histogram()}["ignore"]
    assert ignored == 6 * 24


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "names",
    [
        ("background", *(f"class {number}" for number in range(1, 301))),
        ("road", "car", "sky"),
        ("background", "../../etc/passwd", "<b>|\n[red]"),
    ],
    ids=["16 bits", "no background", "hostile"],
)
def test_what_we_export_is_whole_whatever_the_classes(
    make_export: Callable[..., Path], form: Format, names: tuple[str, ...]
) -> None:
    out = make_export(form, {"names": names}, jpeg=True)
    report = check(out)
    assert report.findings == []
    counted = {row["class"] for row in report.histogram() if row["pixels"]}
    assert {names[-1], "ignore"} <= counted


def test_the_histogram_counts_pixels_and_images(tree: Path) -> None:
    assert check(tree).histogram() == [
        {"label": 0, "class": "background", "pixels": 75, "share": 0.520833, "images": 3},
        {"label": 1, "class": "car", "pixels": 45, "share": 0.3125, "images": 3},
        {"label": 255, "class": "ignore", "pixels": 24, "share": 0.166667, "images": 3},
    ]


DEFECTS: dict[str, tuple[dict[str, bytes | None], list[tuple[str, str]]]] = {
    "no label map": ({"labels/a.png": None}, [("images/a.png", "pair")]),
    "no image": ({"images/sub/c.png": None}, [("labels/sub/c.png", "pair")]),
    "two images": ({"images/a.jpg": b"x"}, [("images/a.jpg", "pair")]),
    "size": ({"labels/a.png": encode_label(LABEL[:5])}, [("labels/a.png", "size")]),
    "turned": ({"labels/a.png": encode_label(LABEL.T.copy())}, [("labels/a.png", "size")]),
    "grey image": ({"images/a.png": png(IMAGE[..., 0])}, [("images/a.png", "mode")]),
    "alpha": (
        {"images/a.png": png(np.concatenate([IMAGE, IMAGE[..., :1]], -1))},
        [("images/a.png", "mode")],
    ),
    "colours as labels": ({"labels/a.png": png(IMAGE)}, [("labels/a.png", "mode")]),
    "id beyond": (
        {"labels/a.png": encode_label(np.where(LABEL == 1, np.uint8(2), LABEL))},
        [("labels/a.png", "values")],
    ),
    "ignored by 8 bits in 16": (
        {"labels/a.png": encode_label(LABEL.astype(np.uint16))},
        [("labels/a.png", "values")],
    ),
    "empty": (
        {"labels/a.png": encode_label(np.where(LABEL == 1, np.uint8(0), LABEL))},
        [("labels/a.png", "empty")],
    ),
    "cut short": ({"images/a.png": encode_image(IMAGE)[:-60]}, [("images/a.png", "unreadable")]),
    "no picture": ({"labels/a.png": b"GIF89a"}, [("labels/a.png", "unreadable")]),
    "PostScript": ({"images/a.png": b"%!PS-Adobe-3.0 EPSF"}, [("images/a.png", "unreadable")]),
    "nothing": ({"labels/b.png": b""}, [("labels/b.png", "unreadable")]),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_planted_defect_is_named(tree: Path, name: str) -> None:
    files, expected = DEFECTS[name]
    for path, data in files.items():
        if data is None:
            (tree / path).unlink()
        else:
            (tree / path).write_bytes(data)
    report = check(tree)
    assert found(report) == expected
    assert all(one.found and one.remedy for one in report.findings)


def test_a_palette_that_is_not_full_is_named(tree: Path) -> None:
    image = Image.fromarray(np.where(LABEL == 255, np.uint8(0), LABEL))
    image.putpalette([0, 0, 0, 128, 0, 0])
    image.save(tree / "labels/a.png")
    (finding,) = check(tree).findings
    assert (finding.file, finding.rule) == ("labels/a.png", "palette")
    assert finding.found == "palette of 2 colours"


def test_a_picture_that_claims_too_many_pixels_is_not_decoded(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for limit, kind in ((40, "more than the limit"), (10, "more than twice the limit")):
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        report = check(tree)
        assert len(report.findings) == 6, kind
        assert {one.rule for one in report.findings} == {"too large"}


def test_a_pipe_is_not_waited_for(tree: Path) -> None:
    (tree / "images/a.png").unlink()
    os.mkfifo(tree / "images/a.png")
    assert found(check(tree)) == [("images/a.png", "unreadable")]


def test_without_classes_label_values_are_not_judged(tree: Path) -> None:
    (tree / "classes.json").unlink()
    assert check(tree).findings == []
    assert found(check(tree, classes="1")) == [
        (f"labels/{name}.png", "values") for name in ("a", "b", "sub/c")
    ]


def test_classes_may_be_given(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("sky\ntree\nroad\n")
    report = check(tree, classes=str(tmp_path / "names.txt"))
    assert [row["class"] for row in report.histogram()] == ["sky", "tree", "road", "ignore"]
    with pytest.raises(InputError, match="--classes: no-such-file"):
        given_classes("no-such-file")


def test_rejected_samples_alone_may_be_empty(make_export: Callable[..., Path]) -> None:
    out = make_export("mmseg", rejected=True)
    for split in ("val", "rejected"):
        (path,) = (out / "ann_dir" / split).iterdir()
        path.write_bytes(encode_label(np.zeros((12, 20), np.uint8)))
    ((file, rule),) = found(check(out))
    assert (Path(file).parent.as_posix(), rule) == ("ann_dir/val", "empty")


def test_a_map_of_another_size_or_mode_is_named(make_export: Callable[..., Path]) -> None:
    out = make_export("voc")
    first, second, third, *_ = sorted(path.name for path in (out / "Reliability").iterdir())
    (out / "Reliability" / first).write_bytes(encode_grey(np.zeros((3, 3), np.uint8)))
    (out / "Reliability" / second).write_bytes(png(np.zeros((12, 20), np.uint16)))
    (out / "Reliability" / third).write_bytes(b"")
    assert sorted(found(check(out))) == [
        (f"Reliability/{first}", "size"),
        (f"Reliability/{second}", "mode"),
        (f"Reliability/{third}", "unreadable"),
    ]


def test_lists_of_voc_are_compared_with_the_files(make_export: Callable[..., Path]) -> None:
    out = make_export("voc")
    lists = out / "ImageSets/Segmentation"
    train = (lists / "train.txt").read_text().split()
    (out / "SegmentationClass" / f"{train[0]}.png").unlink()
    (out / "JPEGImages" / f"{train[1]}.png").unlink()
    (lists / "train.txt").write_text("\n".join([*train[:3], "../../etc/passwd", "/x", "missing"]))
    (lists / "val.txt").write_text(f"{train[2]}\n")
    report = check(out)
    told = {(one.file, one.rule, one.found) for one in report.findings}
    listed = "ImageSets/Segmentation/train.txt"
    assert {
        (listed, "pair", f"{train[0]} has no label map"),
        (listed, "pair", f"{train[1]} has no image"),
        (listed, "pair", "missing has no image"),
        (listed, "name", "'../../etc/passwd' leads outside"),
        (listed, "name", "'/x' leads outside"),
        ("ImageSets/Segmentation/val.txt", "pair", f"{train[2]} is listed twice"),
        (f"SegmentationClass/{train[3]}.png", "pair", "in no list"),
    } <= told
    assert len(told) == 8  # and the one that val.txt listed before


def change_coco(out: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = out / "annotations/instances_train.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def first_annotation(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["annotations"][0].__setitem__(key, value)


def first_image(key: str, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["images"][0].__setitem__(key, value)


RLE = {"size": [12, 20], "counts": "~"}
COCO_DEFECTS = {
    "unknown category": (first_annotation("category_id", 77), "annotation", "category_id 77"),
    "odd category": (first_annotation("category_id", [1]), "annotation", "category_id [1]"),
    "unknown image": (first_annotation("image_id", 77), "annotation", "image_id 77"),
    "box": (
        first_annotation("bbox", [0, 0, 90, 2]),
        "annotation",
        "bbox [0, 0, 90, 2] of an image 20x12",
    ),
    "box of words": (first_annotation("bbox", "x"), "annotation", "bbox 'x'"),
    "bad mask": (first_annotation("segmentation", RLE), "annotation", "characters that no"),
    "no mask": (first_annotation("segmentation", None), "annotation", "no segmentation"),
    "short polygon": (first_annotation("segmentation", [[1, 2, 3, 4]]), "annotation", "a polygon"),
    "polygon outside": (
        first_annotation("segmentation", [[1, 1, 99, 1, 5, 5]]),
        "annotation",
        "a polygon that leaves the image",
    ),
    "area": (first_annotation("area", 3), "annotation", "area 3 of a mask with"),
    "no object": (lambda content: content["annotations"].append(3), "annotation", "id None"),
    "id twice": (
        lambda content: content["annotations"].append(content["annotations"][0]),
        "annotation",
        "id 1",
    ),
    "image id twice": (
        lambda content: content["images"].append(content["images"][0]),
        "annotation",
        "image id 1",
    ),
    "absolute path": (first_image("file_name", "/etc/passwd"), "name", "file_name '/etc/passwd'"),
    "path outside": (first_image("file_name", "a/../../x"), "name", "file_name 'a/../../x'"),
    "path of a drive": (first_image("file_name", "C:\\x.png"), "name", "file_name 'C:"),
    "no path": (first_image("file_name", None), "name", "file_name None"),
    "no file": (first_image("file_name", "x.png"), "pair", "no file train/x.png"),
    "width": (first_image("width", 21), "size", "20x12, and annotations/instances_train.json"),
}


@pytest.mark.parametrize("name", COCO_DEFECTS)
def test_a_planted_defect_of_coco_is_named(make_export: Callable[..., Path], name: str) -> None:
    change, rule, text = COCO_DEFECTS[name]
    out = make_export("coco")
    change_coco(out, change)
    report = check(out)
    assert any(one.rule == rule and one.found.startswith(text) for one in report.findings)
    unlisted = {"absolute path", "path outside", "path of a drive", "no path", "no file"}
    told = [one for one in report.findings if one.found != "in no annotation file"]
    assert len(told) == (2 if name == "image id twice" else 1)
    assert len(report.findings) - len(told) == (name in unlisted)


def test_coco_json_that_is_none_is_named(make_export: Callable[..., Path]) -> None:
    out = make_export("coco")
    (out / "annotations/deep.json").write_text("[" * 100_000)
    (out / "annotations/cut.json").write_text('{"images": [')
    (out / "annotations/captions_val.json").write_text('{"images": [], "annotations": []}')
    assert found(check(out)) == [
        ("annotations/cut.json", "unreadable"),
        ("annotations/deep.json", "unreadable"),
    ]


def test_a_name_that_leads_to_the_parent_opens_nothing_there(
    make_export: Callable[..., Path],
) -> None:
    out = make_export("coco")
    whole = out / "annotations/instances_val.json"
    (name,) = [image["file_name"] for image in json.loads(whole.read_text())["images"]]
    (out / "val" / name).rename(out.parent / name)
    whole.rename(out / "annotations/instances_...json")
    told = [one for one in check(out).findings if one.rule == "pair"]
    assert [one.file for one in told] == ["annotations/instances_...json, image 1"]


def test_the_maps_beside_cocos_images_are_opened(make_export: Callable[..., Path]) -> None:
    out = make_export("coco")
    first, second, third, _ = sorted((out / "reliability/train").iterdir())
    first.write_bytes(b"x")
    second.write_bytes(encode_grey(LABEL))
    third.unlink()
    told = [(Path(one.file), one.rule) for one in check(out).findings]
    rules = ("unreadable", "size", "unreadable")
    assert told == [
        (path.relative_to(out), rule)
        for path, rule in zip((first, second, third), rules, strict=True)
    ]


def test_images_without_annotations_are_named(make_export: Callable[..., Path]) -> None:
    out = make_export("coco")
    change_coco(
        out,
        lambda content: content.update(
            annotations=[one for one in content["annotations"] if one["image_id"] != 2]
        ),
    )
    (out / "train/other.png").write_bytes(encode_image(IMAGE))
    told = {(Path(one.file).parent.name, one.rule) for one in check(out).findings}
    assert told == {("train", "empty"), ("train", "pair")}


def write_tar(path: Path, members: list[tuple[str, bytes] | tarfile.TarInfo]) -> None:
    with tarfile.open(path, "w") as tar:
        for one in members:
            if isinstance(one, tarfile.TarInfo):
                tar.addfile(one)
            else:
                info = tarfile.TarInfo(one[0])
                info.size = len(one[1])
                tar.addfile(info, io.BytesIO(one[1]))


def test_planted_defects_of_shards_are_named(tmp_path: Path) -> None:
    image, label = encode_image(IMAGE), encode_label(LABEL)
    link = tarfile.TarInfo("link.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    write_tar(
        tmp_path / "train-000000.tar",
        [
            ("whole.png", image),
            ("whole.label.png", label),
            ("whole.json", b"{}"),
            ("bare.jpg", image),
            ("lonely.label.png", label),
            ("small.png", image),
            ("small.label.png", encode_label(LABEL[1:])),
            ("../../out.png", image),
            ("../../out.label.png", label),
            ("twice.png", image),
            ("twice.jpg", image),
            ("twice.label.png", label),
            ("whole.reliability.png", label),
            link,
        ],
    )
    whole = (tmp_path / "train-000000.tar").read_bytes()
    (tmp_path / "train-000001.tar").write_bytes(whole[:700])
    (tmp_path / "train-000002.tar").write_bytes(b"no tar at all" * 100)
    first = "train-000000.tar: "
    assert sorted(found(check(tmp_path))) == [
        (f"{first}../../out.label.png", "name"),
        (f"{first}../../out.png", "name"),
        (f"{first}bare", "pair"),
        (f"{first}link.png", "name"),
        (f"{first}lonely", "pair"),
        (f"{first}small.label.png", "size"),
        (f"{first}twice.jpg", "pair"),
        (f"{first}whole", "pair"),
        (f"{first}whole.reliability.png", "pair"),
        ("train-000001.tar", "unreadable"),
        ("train-000002.tar", "unreadable"),
    ]


def test_a_header_that_holds_no_numbers_is_named(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.png")
    info.pax_headers = {"GNU.sparse.map": "a,b"}
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info)
    assert found(check(tmp_path)) == [("a.tar", "unreadable")]


def test_pictures_that_are_text_are_named(tmp_path: Path) -> None:
    text = pa.array([{"bytes": "a picture"}])
    table = pa.table({"image": text, "label": text, "reliability": pa.array([3])})
    parquet.write_table(table, tmp_path / "a.parquet")
    row = "a.parquet: row 0, "
    names = ("image", "label", "reliability")
    assert found(check(tmp_path)) == [(f"{row}{name}", "pair") for name in names]


def test_planted_defects_of_tables_are_named(tmp_path: Path) -> None:
    image, label = encode_image(IMAGE), encode_label(LABEL)
    rows = [
        {"image": {"bytes": image, "path": None}, "label": {"bytes": label, "path": None}},
        {"image": {"bytes": image, "path": None}, "label": None},
        {"image": {"bytes": None, "path": "/etc/passwd"}, "label": {"bytes": label}},
        {"image": {"bytes": b"x"}, "label": {"bytes": encode_label(LABEL[1:])}},
    ]
    picture = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", picture), ("label", picture)])
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path / "a.parquet")
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(data[:-20])
    report = check(tmp_path, classes="1")
    assert found(report) == [
        ("a.parquet: row 0, label", "values"),
        ("a.parquet: row 1, label", "pair"),
        ("a.parquet: row 2, image", "pair"),
        ("a.parquet: row 3, image", "unreadable"),
        ("a.parquet: row 3, label", "values"),
        ("b.parquet", "unreadable"),
    ]


def test_a_table_with_a_path_that_is_no_text_is_named(tmp_path: Path) -> None:
    paths = pa.array([b"\xff"], pa.binary()).view(pa.string())
    files = pa.array([encode_image(IMAGE)], pa.binary())
    picture = pa.StructArray.from_arrays([files, paths], ["bytes", "path"])
    parquet.write_table(pa.table({"image": picture, "label": picture}), tmp_path / "a.parquet")
    assert found(check(tmp_path)) == [("a.parquet", "unreadable")]


def test_tables_are_not_held_in_memory(tmp_path: Path) -> None:
    picture = pa.struct([("bytes", pa.binary())])
    schema = pa.schema([("image", picture), ("label", picture)])
    data = np.random.default_rng(0).bytes(2**17)
    rows = [{"image": {"bytes": data}, "label": {"bytes": data}}] * 4
    with parquet.ParquetWriter(tmp_path / "a.parquet", schema, use_dictionary=False) as writer:
        for _ in range(40):  # 40 MB in row groups of 1 MB
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in read_tree(tmp_path, "hf", None).entries]
    assert len(held) == 160
    assert max(held) < 10 * 2**20


FIFTYONE_DEFECTS: dict[str, tuple[Callable[[list[Any]], object], str, str]] = {
    "leads outside": (
        lambda samples: samples[0].update(filepath="/etc/passwd"),
        "samples.json: sample 0",
        "name",
    ),
    "a label that leads outside": (
        lambda samples: samples[1]["ground_truth"].update(mask_path="../../label.png"),
        "samples.json: sample 1",
        "name",
    ),
    "no such file": (
        lambda samples: samples[2]["reliability"].update(map_path="fields/reliability/x.png"),
        "samples.json: sample 2",
        "pair",
    ),
    "twice": (
        lambda samples: samples.append(samples[0]),
        "samples.json: sample 5",
        "pair",
    ),
    "no image": (lambda samples: samples[0].pop("filepath"), "samples.json: sample 0", "pair"),
    "no sample": (lambda samples: samples.__setitem__(0, "a"), "samples.json: sample 0", "pair"),
}


@pytest.mark.parametrize("defect", FIFTYONE_DEFECTS)
def test_what_fiftyone_would_open_is_checked(make_export: Callable[..., Path], defect: str) -> None:
    out = make_export("fiftyone")
    content = json.loads((out / "samples.json").read_text())
    change, file, rule = FIFTYONE_DEFECTS[defect]
    change(content["samples"])
    (out / "samples.json").write_text(json.dumps(content))
    assert (file, rule) in found(check(out))


def test_an_image_that_fiftyone_would_not_open_is_named(make_export: Callable[..., Path]) -> None:
    out = make_export("fiftyone")
    content = json.loads((out / "samples.json").read_text())
    gone = content["samples"].pop()["filepath"]
    (out / "samples.json").write_text(json.dumps(content))
    assert found(check(out)) == [(gone, "pair")]
    (out / "samples.json").write_text("[]")
    assert found(check(out)) == [("samples.json", "unreadable")]


def test_a_lost_shard_is_missed(make_export: Callable[..., Path]) -> None:
    out = make_export("webdataset")
    assert missing(out, 5) is None
    (out / "val-000000.tar").unlink()
    report = check(out)
    assert report.findings == []
    lost = missing(out, report.images)
    assert lost is not None and lost.file == "manifest.json"
    assert lost.found == f"5 images, and {report.images} are here"
    (out / "manifest.json").write_text('{"samples": {"train": 99}}')  # somebody else's
    assert missing(out, report.images) is None


@pytest.mark.parametrize("below", ["", "samples"])
def test_the_stages_own_folders_are_known(tmp_path: Path, below: str) -> None:
    (tmp_path / below).mkdir(exist_ok=True)
    (tmp_path / below / "index.parquet").touch()
    with pytest.raises(InputError, match=r"what the stages keep.*tasks\.lineage check"):
        detect(tmp_path)


def test_a_tree_of_no_known_layout_is_told(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(InputError, match="no layout that is known: expected img_dir"):
        detect(tmp_path)
    with pytest.raises(InputError, match="has no folders of images and label maps"):
        read_tree(tmp_path, "mmseg", None)


def test_a_tree_without_images_is_not_called_whole(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    done = run(str(tmp_path))
    assert done.returncode == 1
    assert "holds no image as --format plain has them" in done.stderr


def test_classes_are_not_given_where_the_annotations_name_them(
    make_export: Callable[..., Path],
) -> None:
    with pytest.raises(InputError, match="--classes: is not for COCO"):
        check(make_export("coco"), classes="3")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tasks.validate", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command(tree: Path) -> None:
    whole = run(str(tree))
    assert whole.returncode == 0, whole.stderr
    assert "No findings" in whole.stdout
    (tree / "labels/a.png").unlink()
    (tree / "images/[red]b\x1b.png").write_bytes(b"")
    broken = run(str(tree))
    assert broken.returncode == 1
    lines = broken.stdout.splitlines()
    assert lines[1] == "images/a.png: pair: no label map; add labels/a.png, or remove the image"
    assert lines[0].startswith("images/[red]b\\x1b.png: pair: no label map; ")
    assert "2 findings: 2 pair" in broken.stdout
    content = json.loads(run(str(tree), "--json").stdout)
    assert content["images"] == 2
    assert [one["file"] for one in content["findings"]] == [
        "images/[red]b\x1b.png",
        "images/a.png",
    ]
    assert content["findings"][1]["remedy"] == "add labels/a.png, or remove the image"
    assert content["histogram"][1] == {
        "label": 1, "class": "car", "pixels": 30, "share": 0.3125, "images": 2,
    }  # fmt: skip
    missing = run(str(tree / "nowhere"))
    assert missing.returncode == 1
    assert missing.stderr.strip().endswith("no such folder; name the root of the tree")
