"""The benchmark of the million, at a hundredth: what it runs, and what it counts."""

from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from benchmarks.prompts import PROMPTS, count_ids, run, write_params
from tasks.params import load_params


def test_a_run_is_a_process_of_its_own(tmp_path: Path) -> None:
    write_params(tmp_path, "storybook", 3)
    seconds, peak = run(tmp_path, "7")
    assert count_ids(tmp_path / PROMPTS) == (24, 0)
    assert 0 < seconds < 60
    assert 0.05 < peak < 1.5


def test_a_run_that_fails_ends_the_benchmark(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "params.yaml").write_text("{}")
    with pytest.raises(SystemExit) as caught:
        run(tmp_path, "7")
    assert caught.value.code == 1
    assert "required key is missing" in capfd.readouterr().err


def test_paths_of_a_preset_hold_in_any_folder(tmp_path: Path) -> None:
    write_params(tmp_path, "imagenet_s50", 3)
    section = load_params(tmp_path / "params.yaml", lists=None).expand_prompts
    assert Path(section.class_names[0]).is_absolute()
    assert Path(section.lexicon.removeprefix("wordnet:")).is_absolute()
    assert section.images_per_class == 3


def test_ids_that_stand_twice_are_counted(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"prompt_id": ["a", "b", "a", "a"]}), tmp_path / "ids.parquet")
    assert count_ids(tmp_path / "ids.parquet") == (4, 2)
