"""Labelling of files, folders and globs: what is found, what is written, what is refused."""

import csv
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from tasks.label_maps import encode_image
from tasks.params import InputError
from tasks.predict import app, areas, find_inputs, output_name
from tasks.records import write_json
from tasks.reference_images import read_image
from tasks.segmenter import Segmenter, build_network

ROOT = Path(__file__).parents[2]


@pytest.fixture
def model(make_config: Callable[..., Config], tmp_path: Path) -> Path:
    """The toy network, as a run leaves it."""
    folder = tmp_path / "model"
    folder.mkdir()
    cfg = make_config()
    torch.manual_seed(0)
    network = build_network(cfg)
    network.decode_head.conv_seg.bias.data.zero_()  # it alone would decide
    torch.save(network.state_dict(), folder / "weights.pth")
    cfg.dump(folder / "config.py")
    write_json(folder / "classes.json", ["background", "red", "blue"])
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Four images of two sizes, in two folders."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "photos"
    for name, size in {
        "a": (16, 16),
        "b": (12, 20),
        "more/c": (16, 16),
        "more/d": (16, 16),
    }.items():
        path = folder / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(rng.integers(0, 256, (*size, 3)).astype(np.uint8)))
    return folder


def call(*tokens: Any) -> None:
    app([str(token) for token in tokens], exit_on_error=False, result_action="return_value")


def written(out: Path) -> set[str]:
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "areas.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_becomes_label_maps_overlays_and_areas(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    call(photos, "--out", out, "--model", model, "--device", "cpu", "--batch-size", 2)
    names = ["a", "b", "more/c", "more/d"]
    pictures = {f"{kind}/{name}.png" for kind in ("labels", "overlays") for name in names}
    assert written(out) == {*pictures, "areas.csv"}
    segmenter, listed = Segmenter(model, "cpu"), rows(out)
    for name in names:
        pixels = read_image(photos / f"{name}.png")
        (expected,) = segmenter.label([pixels])
        with Image.open(out / f"labels/{name}.png") as image:
            assert image.mode == "P"
            np.testing.assert_array_equal(np.asarray(image), expected)
        with Image.open(out / f"overlays/{name}.png") as image:
            assert (image.mode, image.size) == ("RGB", pixels.shape[1::-1])
        mine = [row for row in listed if row["image"] == f"{name}.png"]
        counts = {row["class"]: int(row["pixels"]) for row in mine}
        for value, label in enumerate(("background", "red", "blue")):
            assert counts.get(label, 0) == (expected == value).sum()
        assert sum(float(row["share"]) for row in mine) == pytest.approx(1, abs=1e-5)
    assert len({row["class"] for row in listed}) > 1


def test_what_a_folder_holds_beside_images_and_all_areas_are_told(
    model: Path, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.gif", "more/b.gif", "notes.txt", ".hidden", "more/README"):
        (photos / name).write_bytes(b"")
    caplog.set_level("INFO")
    call(photos, "--out", tmp_path / "out", "--model", model, "--device", "cpu")
    assert "skipped by their suffix: 2 .gif, 1 .txt, 1 none" in caplog.text
    counts: Counter[str] = Counter()
    for row in rows(tmp_path / "out"):
        counts[row["class"]] += int(row["pixels"])
    name, most = counts.most_common(1)[0]
    assert f"of all pixels: {name} {most / counts.total():.1%}" in caplog.text


def test_areas_are_of_the_classes_that_are_there() -> None:
    label = np.array([[0, 2, 2, 2]], np.uint8)
    assert areas("a.png", label, ["background", "red", "blue"]) == [
        ("a.png", 0, "background", 1, 0.25),
        ("a.png", 2, "blue", 3, 0.75),
    ]


def test_names_start_where_the_search_did(photos: Path) -> None:
    def names(*images: object) -> list[str]:
        return [output_name(one) for one in find_inputs([str(one) for one in images])]

    assert names(photos) == ["a.png", "b.png", "more/c.png", "more/d.png"]
    assert names(photos / "more/d.png", photos / "a.png") == ["d.png", "a.png"]
    assert names(f"{photos}/**/[cd].png") == ["more/c.png", "more/d.png"]
    assert names(photos / "more/c.png", photos / "more") == ["c.png", "d.png"]


def test_two_images_of_one_name_are_refused(photos: Path) -> None:
    (photos / "more/a.jpg").write_bytes((photos / "a.png").read_bytes())
    with pytest.raises(InputError, match=r"one name in the output: \S+a\.png and \S+more/a\.jpg; "):
        find_inputs([str(photos / "a.png"), str(photos / "more/a.jpg")])
    assert len(find_inputs([str(photos)])) == 5


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "IMAGES: none given"),
        (["nowhere"], "IMAGES: nowhere does not exist; give a folder of images or a glob"),
        (["{photos}/*.tif"], r"IMAGES: .*\*\.tif holds no image"),
        (["{photos}/mor*/../../photos/a.png"], "holds no image"),  # its name would lead outside
    ],
)
def test_images_that_are_not_there_are_told(photos: Path, images: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_inputs([one.format(photos=photos) for one in images])


def test_nothing_is_overwritten(model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="exists and is no empty folder"):
        call(photos, "--out", out, "--model", model)
    assert written(out) == {"mine.txt"}
    with pytest.raises(InputError, match="exists and is no empty folder"):
        call(photos, "--out", photos / "a.png", "--model", model)
    (out / "mine.txt").unlink()
    call(photos / "a.png", "--out", out, "--model", model, "--device", "cpu")
    assert written(out) == {"labels/a.png", "overlays/a.png", "areas.csv"}


def test_images_that_cannot_be_read_are_listed_and_the_others_labelled(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    (photos / "a.png").write_text("no image")
    (photos / "more/c.png").write_bytes((photos / "more/d.png").read_bytes()[:100])
    with pytest.raises(InputError) as caught:
        call(photos, "--out", tmp_path / "out", "--model", model, "--device", "cpu")
    first, *others = str(caught.value).splitlines()
    assert first == "2 of 4 images could not be read:"
    assert [line.partition(" ")[0] for line in others] == [
        str(photos / name) for name in ("a.png", "more/c.png")
    ]
    assert [row["image"] for row in rows(tmp_path / "out")[:1]] == ["b.png"]
    assert written(tmp_path / "out") == {
        f"{kind}/{name}.png" for kind in ("labels", "overlays") for name in ("b", "more/d")
    } | {"areas.csv"}


def test_windows_and_a_config_beside_its_checkpoint(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    weights = ("--model", model / "config.py", "--checkpoint", model / "weights.pth")
    call(photos / "b.png", "--out", tmp_path / "out", *weights, "--window", 8, 8, "--device", "cpu")
    (expected,) = Segmenter(model, "cpu", (8, 8)).label([read_image(photos / "b.png")])
    with Image.open(tmp_path / "out/labels/b.png") as image:
        np.testing.assert_array_equal(np.asarray(image), expected)
    assert {row["class"] for row in rows(tmp_path / "out")} <= {"0", "1", "2"}


def test_mirrored_and_scaled_variants_are_averaged(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    variants = ("--flip", "--scales", 0.5, 1.5)
    call(photos / "b.png", "--out", tmp_path / "out", "--model", model, *variants)
    images = [read_image(photos / "b.png")]
    (plain,) = Segmenter(model, "cpu").label(images)
    (expected,) = Segmenter(model, "cpu", flip=True, scales=(0.5, 1.5)).label(images)
    with Image.open(tmp_path / "out/labels/b.png") as image:
        np.testing.assert_array_equal(np.asarray(image), expected)
    assert not np.array_equal(plain, expected)


def test_the_command_line_says_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tasks.predict", str(tmp_path / "none")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"IMAGES: {tmp_path}/none does not exist; give a folder of images or a glob, such as "
        "frames/**/*.png"
    ]


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    call("--help")
    shown = capsys.readouterr().out
    for option in (
        "--out",
        "--model",
        "--checkpoint",
        "--batch-size",
        "--window",
        "--flip",
        "--scales",
    ):
        assert option in shown


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        MemoryError("Unable to allocate 2.00 GiB for an array"),
    ],
    ids=["cuda", "cpu", "numpy"],
)
def test_memory_that_runs_out_names_the_remedies(
    model: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Segmenter, "label", full)
    with pytest.raises(InputError, match=r"with 7 images at a time .*--batch-size.*--window"):
        call(photos, "--out", tmp_path / "out", "--model", model, "--batch-size", 7)
