"""The stage: its files, its numbers, its preview."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks import expand_prompts, records
from tasks.expand_prompts import run, sample, show_preview
from tasks.params import InputError, Params
from tasks.prompt_sources import prepare

ROOT = Path(__file__).parents[2]
Make = Callable[..., Params]


@pytest.fixture
def make(make_params: Make) -> Make:
    def small(changes: dict[str, Any] | None = None) -> Params:
        return make_params({"expand_prompts.images_per_class": 20} | (changes or {}))

    return small


def test_files_are_the_same_bytes_each_time(make: Make, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(make(), tmp_path / name)
    for path in ("data/prompts.parquet", "metrics/prompts.json"):
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
    assert [path.name for path in (tmp_path / "a/data").iterdir()] == ["prompts.parquet"]


def test_counts_are_those_of_the_rows(make: Make, tmp_path: Path) -> None:
    run(make(), tmp_path)
    rows = records.read_rows(tmp_path / "data/prompts.parquet")
    counts = json.loads((tmp_path / "metrics/prompts.json").read_text())
    assert counts["prompts"] == len(rows) == 160
    assert counts["distinct_texts"] == len({row["text"] for row in rows})
    assert counts["distinct_texts"] + counts["repeats"] == 160
    assert counts["withdrawn"] == 0
    assert counts["sources"] == {"templates": 160}
    dogs = [row["classes"][0] for row in rows if row["classes"][0]["name"] == "dog"]
    dog = counts["per_class"]["dog"]
    assert dog["prompts"] == len(dogs) == 20
    assert dog["synset"] == "n02084071"
    for key, field in (("relations", "relation"), ("depths", "depth")):
        values = [each[field] for each in dogs]
        assert dog[key] == {str(value): values.count(value) for value in sorted(set(values))}
    assert dog["distinct_words"] == len({each["phrase"] for each in dogs})
    assert counts["distinct_words"] == sum(
        row["distinct_words"] for row in counts["per_class"].values()
    )


def test_plain_names_that_mean_something_else_are_counted(make: Make, tmp_path: Path) -> None:
    tiny = Path(__file__).with_name("tiny_wordnet.xml")
    crane = {"name": "crane", "sense": "n02012849"}
    params = make(
        {"expand_prompts.lexicon": f"wordnet:{tiny}", "expand_prompts.classes": [crane, "sofa"]}
    )
    run(params, tmp_path)
    counts = json.loads((tmp_path / "metrics/prompts.json").read_text())
    assert counts["ambiguous"] == 1
    assert [row["ambiguous"] for row in counts["per_class"].values()] == [1, 0]


def test_rows_are_written_in_parts(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "ROW_GROUP", 50)
    run(make(), tmp_path)
    file = records.parquet.ParquetFile(tmp_path / "data/prompts.parquet")
    sizes = [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)]
    assert sizes == [50, 50, 50, 10]


def test_an_id_that_stands_twice_is_refused(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = expand_prompts.class_rows

    def clashing(*arguments: Any) -> Any:
        return (row | {"prompt_id": "00000000000000ff"} for row in real(*arguments))

    monkeypatch.setattr(expand_prompts, "class_rows", clashing)
    with pytest.raises(InputError, match="159 ids stand twice, by chance; choose another"):
        run(make(), tmp_path)


def test_a_sample_is_spread_over_the_classes(make: Make) -> None:
    shares = {"plain": 0.4, "synonym": 0.2, "hyponym": 0.4}
    plan = prepare(make({"expand_prompts.shares": shares}).expand_prompts)
    names = [row["classes"][0]["name"] for row in sample(plan, 4)]
    assert names == ["car", "tree", "bird", "dog"]
    rows = list(sample(plan, 19))
    assert len(rows) == 19
    assert [row["classes"][0]["name"] for row in rows].count("car") == 3
    assert {row["classes"][0]["relation"] for row in rows} == {"plain", "synonym", "hyponym"}


def test_a_class_name_is_no_markup(
    make: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    crane = {"name": "crane [/machine]", "phrases": ["crane [/b]"], "synonyms": [], "hyponyms": []}
    show_preview(make({"expand_prompts.classes": [crane]}), 2)
    lines = capsys.readouterr().out.splitlines()[1:]
    assert len(lines) == 2
    assert all(line.startswith("crane [/machine] ") and "crane [/b]" in line for line in lines)


def test_a_preview_of_less_than_nothing_is_refused() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tasks.expand_prompts", "--preview", "-3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert "Must be >= 0" in done.stdout + done.stderr


def test_the_preview_prints_and_writes_nothing(make: Make, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(make().model_dump(mode="json")))
    done = subprocess.run(
        [sys.executable, "-m", "tasks.expand_prompts", "--preview", "8"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["class", "relation", "source", "prompt"]
    assert len(lines) == 9
    texts = {row["text"] for row in sample(prepare(make().expand_prompts), 8)}
    assert all(any(line.rstrip().endswith(text) for text in texts) for line in lines[1:])
    assert [path.name for path in tmp_path.iterdir()] == ["params.yaml"]
