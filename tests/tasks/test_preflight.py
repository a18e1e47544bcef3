"""Bad input stops before anything is computed, with one clear message, and touches no output."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import yaml

from tasks import input_checks, preflight
from tasks.digests import DigestCache, file_digests
from tasks.label_maps import encode_label
from tasks.params import InputError, Params
from tasks.preflight import run
from tests.toys.inputs import OUTPUTS, message, outputs

ROOT = Path(__file__).parents[2]
Make = Callable[..., Params]


def test_outputs_when_all_is_well(make: Make, root: Path) -> None:
    run(make({"evaluate_segmenter.test_set": "own", "train_reference.labelled_set": "none"}), root)
    written = {name: json.loads(content) for name, content in outputs(root).items()}
    assert set(written) == OUTPUTS
    assert written["metrics/preflight.json"] == {"ok": True}
    assert written["data/inputs/labelled_set.json"] == {"source": "none"}
    test_set = written["data/inputs/test_set.json"]
    assert (test_set["source"], test_set["images"], len(test_set["digest"])) == ("outside", 2, 64)
    model = written["data/inputs/model.json"]
    assert model["pipeline"] == "StableDiffusionPipeline"
    assert len(model["digest"]) == 64 and len(model["files"]) == 10


def test_texts_from_outside_have_their_digest(make: Make, root: Path) -> None:
    run(make(), root)
    none = {"classes_file": "none", "captions": "none", "lexicon": "builtin"}
    assert json.loads((root / "data/inputs/texts.json").read_text()) == none
    (root / "own/captions.txt").write_text("A dog by a car.\n")
    run(make({"expand_prompts.captions": "own/captions.txt"}), root)
    record = json.loads((root / "data/inputs/texts.json").read_text())
    assert len(record.pop("captions")) == 64
    assert record == {"classes_file": "none", "lexicon": "builtin"}


def test_a_similarity_model_has_its_digest_and_is_looked_for(
    make: Make, root: Path, image_text_folders: dict[str, Path]
) -> None:
    run(make(), root)
    record = root / "data/inputs/similarity.json"
    assert json.loads(record.read_text()) == {"source": "none"}
    shutil.copytree(image_text_folders["clip"], root / "clip")
    run(make({"score_masks.similarity.model": "clip"}), root)
    before = json.loads(record.read_text())
    assert before["source"] == "outside"
    (root / "clip/preprocessor_config.json").write_text("{}")
    run(make({"score_masks.similarity.model": "clip"}), root)
    assert json.loads(record.read_text())["digest"] != before["digest"]
    told = message(make({"score_masks.similarity.model": "no/clip"}), root)
    assert told.startswith("score_masks.similarity.model: no/clip is neither a folder nor")
    strange = {"score_masks.similarity.model": "clip", "score_masks.similarity.device": "tpu"}
    assert message(make(strange), root).startswith("score_masks.similarity.device: must be auto")


def test_sets_of_the_graph_have_a_constant_record(make: Make, root: Path) -> None:
    run(make(), root)
    for name in ("labelled_set", "test_set"):
        record = json.loads((root / f"data/inputs/{name}.json").read_text())
        assert record == {"source": "data/storybook"}


def test_outputs_follow_the_content_of_the_inputs(make: Make, root: Path) -> None:
    params = make({"evaluate_segmenter.test_set": "own"})
    run(params, root)
    before = outputs(root)
    run(params, root)
    assert outputs(root) == before
    (root / "own/labels/a.png").write_bytes(encode_label(np.ones((4, 4), np.uint8)))
    run(params, root)
    after = outputs(root)
    assert {name for name in OUTPUTS if before[name] != after[name]} == {
        "data/inputs/test_set.json"
    }


def test_slow_checks_run_again_only_for_other_content(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("check_pairs", "read_tokenizers", "gpu_problems"):
        monkeypatch.setattr(input_checks, name, lambda *_, name=name: calls.append(name) or [])
    slow = ["check_pairs", "check_pairs", "read_tokenizers", "gpu_problems"]
    params = make({"evaluate_segmenter.test_set": "own"})
    run(params, root)
    assert calls == slow
    for path in (root / "own/images").iterdir():
        os.utime(path, ns=(1, 1))
    run(params, root)
    assert calls == slow
    run(make({"evaluate_segmenter.test_set": "own", "write_report.seed": 1}), root)
    assert calls == slow * 2


def test_initial_weights_are_opened_again_only_for_other_content(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[bytes] = []
    monkeypatch.setattr(
        input_checks, "check_training", lambda _, path, *__: opened.append(path.read_bytes())
    )
    params = make({"train_segmenter.init_from": "start.pth"})
    weights, config = root / "start.pth", root / "mmseg_configs/storybook/tiny.py"
    weights.write_bytes(b"one")
    run(params, root)
    run(params, root)
    assert opened == [b"one"]
    record = json.loads((root / "data/inputs/init_from.json").read_text())
    assert record == {"source": "outside", "digest": hashlib.sha256(b"one").hexdigest()}
    weights.write_bytes(b"other")
    run(params, root)
    config.write_text("model = dict()")
    run(params, root)
    assert opened == [b"one", b"other", b"other"]


def test_initial_weights_that_do_not_fit_touch_no_output(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(make(), root)
    before = outputs(root)

    def refuse(params: Params, path: Path, *_: object) -> None:
        raise InputError(f"{path.name} does not fit")

    monkeypatch.setattr(input_checks, "check_training", refuse)
    (root / "start.pth").touch()
    assert (
        message(make({"train_segmenter.init_from": "start.pth"}), root) == "start.pth does not fit"
    )
    assert outputs(root) == before


def test_other_code_or_another_lexicon_checks_again(
    make: Make, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def watched(folder: Path, files: Iterable[Path], cache: DigestCache) -> dict[str, str]:
        found = file_digests(folder, files, cache)
        seen.extend(found)
        return found

    monkeypatch.setattr(preflight, "file_digests", watched)
    run(make(), root)
    assert {"preflight.py", "reference_checks.py", "lexicons/builtin.yaml"} <= set(seen)


def test_a_failed_check_is_not_remembered_as_passed(make: Make, root: Path) -> None:
    bad = make({"expand_prompts.templates": ["a {} " + "very " * 20]})
    first = message(bad, root)
    assert message(bad, root) == first


def test_all_problems_are_listed_together(make: Make, root: Path) -> None:
    changes = {
        "expand_prompts.negative_prompt": "blurry ugly distorted",
        "sample_images.height": 60,
        "train_reference.labelled_set": "nowhere",
        "train_segmenter.config": "none.py",
    }
    lines = message(make(changes), root).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "sample_images.height",
        "train_reference.labelled_set",
        "train_segmenter.config",
        "expand_prompts.negative_prompt",
    ]


def test_the_command_prints_the_message_and_ends_with_status_1(make: Make, root: Path) -> None:
    changed = make({"sample_images.model": "nowhere"}).model_dump(mode="json")
    (root / "params.yaml").write_text(yaml.safe_dump(changed))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tasks.preflight"],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("sample_images.model: nowhere is neither a folder nor a model")
    assert "Traceback" not in done.stderr
    assert outputs(root) == {}


def test_preflight_and_what_it_imports_leave_torch_alone() -> None:
    code = "import sys, tasks.preflight; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
