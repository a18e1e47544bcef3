import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from mmengine.config import Config

from benchmarks.lineage_state import commit, record
from tasks.checkpoint_trace import trace
from tasks.checksums import file_md5
from tasks.export_network import app
from tasks.params import InputError
from tasks.records import write_json
from tasks.segmenter import build_network


def stages(node: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Stage -> its row, of a whole trace."""
    found = {} if node.get("see_above") else {node["stage"]: node}
    for one in node.get("inputs", []):
        if "made_by" in one:
            found = {**stages(one["made_by"]), **found}
    return found


def inputs(node: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["path"]: one for one in node["inputs"]}


def test_a_network_back_to_every_input(lineage_root: Path) -> None:
    found = trace(lineage_root / "models/segmenter", lineage_root)
    assert found["output"] == "models/segmenter"
    assert found["recorded"]["subject"] == "the first state"
    assert found["run"] is None and found["init_from"] is None
    made = stages(found["made_by"])
    assert set(made) == {
        "train_segmenter",
        "filter_masks",
        "score_masks",
        "extract_masks",
        "expand_prompts",
        "sample_images",
        "adapt_lora",
    }
    training = inputs(made["train_segmenter"])
    assert training["data/dataset"]["facts"] == {"samples": 6, "kept": 5}
    assert training["data/samples"]["facts"] == {"samples": 6}
    assert training["data/masks"]["facts"] == {"masks": 6}
    assert made["train_segmenter"]["parameters"]["train_segmenter"]["iterations"] == 1500
    sampling = inputs(made["sample_images"])
    assert sampling["data/prompts.parquet"]["facts"] == {"prompts": 6}
    assert sampling["data/inputs/model.json"]["facts"]["digest"] == "ab" * 32
    adapter = sampling["models/lora/adapter.json"]["facts"]
    assert adapter["digest"] == "cd" * 32 and adapter["reference images"] == 1
    assert list(made["filter_masks"]["code"]["files"]) == ["tasks/filter_masks.py"]
    assert not any(one["stale"] for row in made.values() for one in row["inputs"])
    assert json.loads(json.dumps(found)) == found


def test_a_copy_is_known_by_its_content(lineage_root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere.pth"
    shutil.copyfile(lineage_root / "models/reference/weights.pth", copy)
    found = trace(copy, lineage_root)
    assert found["output"] == "models/reference"
    assert found["checkpoint"]["sha256"] == hashlib.sha256(copy.read_bytes()).hexdigest()
    assert set(stages(found["made_by"])) == {"train_reference"}


def test_a_network_of_an_earlier_commit_is_found_there(lineage_root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "old"
    shutil.copytree(lineage_root / "models/segmenter", copy)
    (lineage_root / "models/segmenter/weights.pth").write_bytes(b"new")
    record(lineage_root)
    commit(lineage_root, "second")
    old, new = (trace(path, lineage_root) for path in (copy, lineage_root / "models/segmenter"))
    assert (old["recorded"]["subject"], new["recorded"]["subject"]) == ("the first state", "second")
    assert old["revision"]["commit"] == old["recorded"]["commit"]
    assert new["revision"]["name"] == "workspace"


def test_without_the_cache_the_folder_here_is_compared(lineage_root: Path) -> None:
    shutil.rmtree(lineage_root / ".dvc/cache")
    found = trace(lineage_root / "models/segmenter", lineage_root)
    assert found["output"] == "models/segmenter"
    (lineage_root / "models/segmenter/weights.pth").write_bytes(b"other")
    with pytest.raises(InputError, match=r"no dvc.lock of the workspace or of any commit names"):
        trace(lineage_root / "models/segmenter", lineage_root)


def test_an_input_that_was_made_again_since_is_stale(lineage_root: Path) -> None:
    lock = yaml.safe_load((lineage_root / "dvc.lock").read_text())
    (out,) = (
        one for one in lock["stages"]["filter_masks"]["outs"] if one["path"] == "data/dataset"
    )
    out["md5"] = f"{'0' * 32}.dir"
    (lineage_root / "dvc.lock").write_text(yaml.safe_dump(lock))
    found = trace(lineage_root / "models/segmenter", lineage_root)
    stale = [one["path"] for one in found["made_by"]["inputs"] if one["stale"]]
    assert stale == ["data/dataset"]


def test_initial_weights_are_traced_too(lineage_root: Path) -> None:
    start = lineage_root / "models/pretrained"
    shutil.copytree(lineage_root / "models/reference", start)
    digest = hashlib.sha256((start / "weights.pth").read_bytes()).hexdigest()
    write_json(lineage_root / "data/inputs/init_from.json", {"source": "outside", "digest": digest})
    params = yaml.safe_load((lineage_root / "params.yaml").read_text())
    params["train_segmenter"]["init_from"] = "models/pretrained"
    (lineage_root / "params.yaml").write_text(yaml.safe_dump(params))
    record(lineage_root)
    start_found = trace(lineage_root / "models/segmenter", lineage_root)["init_from"]
    assert start_found["sha256"] == digest
    assert start_found["trace"]["output"] == "models/reference"
    (start / "weights.pth").write_bytes(b"other")
    start_found = trace(lineage_root / "models/segmenter", lineage_root)["init_from"]
    assert start_found["sha256"] == digest and start_found["trace"] is None


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".onnx"])
def test_an_exported_network_is_known_by_the_weights_it_names(
    lineage_root: Path, make_config: Callable[..., Config], tmp_path: Path, suffix: str
) -> None:
    if suffix == ".onnx":
        pytest.importorskip("onnxruntime", reason="needs ONNX, which `make onnx` installs")
    model, weights = (
        lineage_root / "models/segmenter",
        lineage_root / "models/segmenter/weights.pth",
    )
    cfg = make_config()
    torch.save(build_network(cfg).state_dict(), weights)
    cfg.dump(model / "config.py")
    write_json(model / "classes.json", ["background", "red", "blue"])
    record(lineage_root)
    commit(lineage_root, "a real network")
    first, second = tmp_path / "first.pth", tmp_path / f"second{suffix}"
    export(first, "--model", str(model))
    export(second, "--model", str(first.with_suffix(".py")), "--checkpoint", str(first))
    for path in (first, second):  # the second is of the first, and names what that names
        found = trace(path, lineage_root)
        assert found["output"] == "models/segmenter"
        assert found["recorded"]["subject"] == "a real network"
        assert found["checkpoint"]["made_from"] == file_md5(weights)
        assert found["checkpoint"]["md5"] == file_md5(path) != file_md5(weights)
    assert trace(model, lineage_root)["checkpoint"]["made_from"] is None
    # Of a network that no revision made, both sums are told.
    torch.save({key: one + 1 for key, one in torch.load(weights).items()}, weights)
    other = tmp_path / f"other{suffix}"
    export(other, "--model", str(model))
    with pytest.raises(InputError) as refused:
        trace(other, lineage_root)
    assert f"(MD5 {file_md5(other)}), nor the weights that it was exported from" in str(
        refused.value
    )
    assert f"exported from (MD5 {file_md5(weights)})" in str(refused.value)


def export(path: Path, *options: str) -> None:
    app([str(path), *options], exit_on_error=False, result_action="return_value")


def test_what_is_no_network_is_refused(lineage_root: Path) -> None:
    with pytest.raises(InputError, match=r"no weights there; give a folder with weights\.pth"):
        trace(lineage_root / "data", lineage_root)
