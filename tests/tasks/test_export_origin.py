"""Exports say where they come from: in their images, in the manifest, by the lock."""

import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from pyarrow import parquet

from tasks.checksums import file_md5
from tasks.export import FORMATS, Format, export
from tasks.exporters.origin import read_origin
from tasks.exporters.source import Source
from tasks.image_provenance import DIGITAL_SOURCE_TYPE
from tasks.records import read_json, read_rows, slug, write_json
from tests.toys.datasets import rewrite

PROMPT = 'a "../../x"\r\n<img src=x> | [bold] \x1b[31m 犬'

IMAGES = {
    "coco": "*/*",
    "fiftyone": "data/*",
    "mmseg": "img_dir/*/*",
    "voc": "JPEGImages/*",
}
"""Where the images lie, of formats that have a file for each."""


def images(form: Format, out: Path, suffix: str) -> dict[str, bytes]:
    """The exported images of all splits, as they lie in a format's files: name -> bytes."""
    if form == "hf":
        tables = [parquet.read_table(path) for path in sorted((out / "data").iterdir())]
        pictures = [row["image"] for table in tables for row in table.to_pylist()]
        return {Path(one["path"]).stem: one["bytes"] for one in pictures}
    if form == "webdataset":
        found = {}
        for path in sorted(out.glob("*.tar")):
            with tarfile.open(path) as tar:
                for name in tar.getnames():
                    stem, dot, kind = name.partition(".")
                    if dot + kind == suffix:  # and no map, such as 00.label.png
                        found[stem] = tar.extractfile(name).read()
        return found
    return {path.stem: path.read_bytes() for path in out.glob(f"{IMAGES[form]}{suffix}")}


@pytest.mark.parametrize("jpeg", [False, True], ids=["png", "jpeg"])
@pytest.mark.parametrize("form", FORMATS)
def test_every_image_carries_its_provenance(
    make_dataset: Callable[..., Path], tmp_path: Path, form: Format, jpeg: bool
) -> None:
    root = make_dataset(prompt=PROMPT)
    source = Source(root, read_origin(root), jpeg=jpeg)
    export(form, source, tmp_path / "out")
    found = images(form, tmp_path / "out", ".jpg" if jpeg else ".png")
    kept = [row["sample_id"] for row in read_rows(source.index) if row["kept"]]
    assert sorted(found) == sorted(map(slug, kept)) and len(found) == 5
    assert DIGITAL_SOURCE_TYPE.endswith("/trainedAlgorithmicMedia")
    for number, sample in enumerate(kept):
        data = found[slug(sample)]
        image = Image.open(io.BytesIO(data))
        assert image.format == ("JPEG" if jpeg else "PNG")
        packet = (image.info["xmp"] if jpeg else image.info["XML:com.adobe.xmp"]) or b""
        text = packet.decode() if isinstance(packet, bytes) else packet
        assert text.encode() in data, "the bytes say it, uncompressed"
        assert DIGITAL_SOURCE_TYPE in text
        assert f">{sample}<" in text
        assert f">{2**62 + number}<" in text
        assert f">{'d' * 64}<" in text
        assert ">abc at 1.0<" in text
        assert "<img" not in text and "&lt;img src=x&gt;" in text
        if not jpeg:
            assert image.info["Description"] == PROMPT


def test_the_manifest_counts_and_names_the_source(source: Source, tmp_path: Path) -> None:
    export("mmseg", Source(source.root, source.origin, splits=("train",)), tmp_path / "out")
    facts = read_json(tmp_path / "out/manifest.json")
    assert facts["format"] == "mmseg"
    assert facts["classes"] == ["background", "car", "dog"]
    assert facts["samples"] == {"train": 4}
    assert facts["samples_per_class"] == {"car": 0, "dog": 4}
    assert facts["maps"] == ["label", "reliability"]
    origin = facts["origin"]
    assert origin["model"] == "models/storybook-sd"
    assert origin["model_digest"] == "d" * 64
    assert origin["adapter"] == "abc at 1.0"
    assert origin["parameters_from"] == "params.yaml"
    assert origin["revision"] is None


def lock_dataset(root: Path) -> None:
    """A ``dvc.lock`` in which preflight has run with another model since the samples were made."""

    def params(model: str, scale: float) -> dict[str, Any]:
        return {"params.yaml": {"sample_images": {"model": model}, "adapt_lora.scale": scale}}

    used = [
        {"path": path, "md5": file_md5(root / path)}
        for path in ("data/inputs/model.json", "models/lora/adapter.json")
    ]
    made = [{"path": "data/dataset", "md5": read_origin(root).dataset_md5}]
    stages = {
        "preflight": {
            "params": params("org/new", 0.9),
            "outs": [{"path": "data/inputs/model.json", "md5": "2" * 32}],
        },
        "sample_images": {
            "deps": used,
            "params": params("org/old", 0.5),
            "outs": [{"path": "data/samples", "md5": "1" * 32}],
        },
        "filter_masks": {"deps": [{"path": "data/samples", "md5": "1" * 32}], "outs": made},
    }
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": stages}))


def test_parameters_are_those_of_the_lock_if_it_is_of_this_dataset(
    make_dataset: Callable[..., Path],
) -> None:
    root = make_dataset()
    plain = read_origin(root)
    lock_dataset(root)
    locked = read_origin(root)
    assert (locked.model, locked.model_digest) == ("org/old", "d" * 64)
    assert locked.adapter == "abc at 0.5"
    assert locked.parameters_from == "dvc.lock"
    assert locked.parameters_digest != plain.parameters_digest
    assert locked.revision is None

    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "dvc.lock"], [*author, "commit", "-qm", "all"]):
        subprocess.run(["git", *command], cwd=root, check=True)
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=root, check=True, capture_output=True, text=True
    )
    assert read_origin(root).revision == head.stdout.strip()

    rewrite(root, lambda _, row: row | {"text": "another"})
    changed = read_origin(root)
    assert changed.parameters_from == "params.yaml"
    assert changed.revision is None


def test_a_model_that_preflight_found_later_is_not_stamped(
    make_dataset: Callable[..., Path], tmp_path: Path
) -> None:
    root = make_dataset()
    lock_dataset(root)
    write_json(root / "data/inputs/model.json", {"digest": "e" * 64})
    write_json(root / "models/lora/adapter.json", {"digest": "new"})
    origin = read_origin(root)
    # No cache keeps the records of the old ones.
    assert (origin.model, origin.model_digest, origin.adapter) == ("org/old", None, None)
    export("voc", Source(root, origin), tmp_path / "out")
    text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "org/old (digest not known any more)" in text
    picture = next((tmp_path / "out/JPEGImages").iterdir()).read_bytes()
    assert b"org/old" in picture and b"e" * 64 not in picture
    assert b"VersionUsed" not in picture
