"""`explain` and `diff` on a million samples: seconds and peak memory of whole processes.

Two committed states of a repository are made, as `dvc repro` would leave them but with next to no
image behind the rows: in the second, some samples came, some went, some have another image, label
or verdict. One rule asks for a quantile, which `explain` finds over all scores. What `diff` counts
and that bound are compared with what was put in. Each command is a fresh process, so that start and
imports count.
"""

import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import cyclopts
import numpy as np
import pyarrow as pa
import yaml
from cyclopts import Parameter
from pyarrow import parquet

from benchmarks.lineage_state import commit, record, start
from benchmarks.record import RESULTS, Bar, Row, finish, what_ran
from tasks import records
from tasks.shards import Member, write_shard

ROOT = Path(__file__).parents[1]
SAMPLES, QUICK_SAMPLES = 1_000_000, 20_000
ROUNDS = 3
SHARD_SIZE = 500
CLASSES = ("car", "boat", "tree", "house", "bird", "fish", "dog", "flower")
NEW, GONE, OTHER_IMAGE, OTHER_LABEL, OTHER_VERDICT = 0.01, 0.02, 0.05, 0.03, 0.10
"""Shares of the samples that differ in the second state."""
RULE, SCORE, QUANTILE = "min_margin", "margin", 0.05
"""The rule of ``filter_masks`` whose bound is a quantile of a class's scores."""
MOST_SECONDS, MOST_GB = 3.0, 1.0


def ids(*parts: Any, rows: np.ndarray) -> list[str]:
    """16 hex digits for each row number, the same for the same parts and number."""
    key = int(records.content_id(*parts), 16)
    mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(key)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    return [f"{value:016x}" for value in mixed.tolist()]


def changed(kind: str, rows: np.ndarray, share: float) -> np.ndarray:
    """Which of the rows a kind of change concerns."""
    draws = np.array(ids("change", kind, rows=rows))
    return np.array([int(draw[:8], 16) for draw in draws]) < share * 2**32


def margins(rows: np.ndarray) -> np.ndarray:
    """The margin of each row number's class, 0..1 in steps that float32 holds exactly."""
    mixed = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    found: np.ndarray = (mixed >> np.uint64(40)) / 2**24
    return found


def build(root: Path, count: int) -> None:
    """Commit both states, and write what there is to find out of them to ``expected.json``."""
    start(root)
    params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    params["filter_masks"][RULE] = {"quantile": QUANTILE}
    (root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    first, second = np.arange(count), np.arange(int(count * NEW), int(count * (1 + NEW)))
    second = second[~changed("gone", second, GONE) | (second >= count)]
    write_state(root, first, later=False)
    record(root)
    commit(root, "first")
    differ = write_state(root, second, later=True)
    shared = second < count
    expected = {
        "added": int((~shared).sum()),
        "removed": count - int(shared.sum()),
        **{f"changed_{kind}": int(rows[shared].sum()) for kind, rows in differ.items()},
        "changed": int(np.logical_or.reduce(list(differ.values()))[shared].sum()),
    }
    record(root)
    commit(root, "second")
    of_its_class = second[second % len(CLASSES) == second[-1] % len(CLASSES)]
    found = {
        "diff": expected,
        "sample": ids("sample", rows=second[-1:])[0],
        "bound": float(np.quantile(margins(of_its_class), QUANTILE)),
    }
    (root / "expected.json").write_text(json.dumps(found))


def write_state(root: Path, rows: np.ndarray, later: bool) -> dict[str, np.ndarray]:
    """Manifests of these rows, and the one shard of samples and of masks that is looked into.

    Returns:
        Kind of change -> the rows that it concerns; all False in the first state.
    """
    none = np.zeros(len(rows), bool)
    differ = {
        kind: changed(kind, rows, share) if later else none
        for kind, share in (
            ("images", OTHER_IMAGE),
            ("labels", OTHER_LABEL),
            ("verdicts", OTHER_VERDICT),
        )
    }
    writers = {
        path: _writer(root / path, schema)
        for path, schema in (
            ("data/prompts.parquet", records.PROMPTS),
            ("data/samples/index.parquet", records.SAMPLES),
            ("data/masks/index.parquet", records.MASKS),
            ("data/scores/index.parquet", records.SCORES),
            ("data/dataset/index.parquet", records.DATASET),
        )
    }
    for first in range(0, len(rows), records.ROW_GROUP):
        part = slice(first, first + records.ROW_GROUP)
        tables = _tables(rows[part], {kind: values[part] for kind, values in differ.items()})
        for writer, table in zip(writers.values(), tables, strict=True):
            writer.write_table(table)
    for writer in writers.values():
        writer.close()
    last = ids("sample", rows=rows[-1:])[0]
    shard = _shard(rows[-1])
    write_shard(root / f"data/samples/shards/{shard}", [(f"{last}.png", bytes(100))])
    write_shard(root / f"data/masks/shards/{shard}", [(f"{last}.label.png", bytes(100))])
    records.write_json(root / "data/dataset/classes.json", ["background", *CLASSES])
    records.write_json(root / "metrics/filter.json", {"samples": len(rows)})
    records.write_json(root / "metrics/preflight.json", {"ok": True})
    model = {"pipeline": "StableDiffusionPipeline", "digest": "ab" * 32}
    records.write_json(root / "data/inputs/model.json", model)
    records.write_json(root / "models/lora/adapter.json", {"source": "none", "digest": None})
    return differ


def run(root: Path, *arguments: str) -> tuple[float, float, float, Any]:
    """Run ``python -m tasks.lineage``.

    Returns:
        Seconds, seconds of CPU, peak of the resident set in GB, and the JSON that it printed.

    Raises:
        SystemExit: it failed, and has said why.
    """
    command = [sys.executable, "-m", "tasks.lineage", *arguments, "--json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=root, env=env, stdout=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(process.returncode)
        output.seek(0)
        cpu = usage.ru_utime + usage.ru_stime
        return seconds, cpu, usage.ru_maxrss * 1024 / 1e9, json.load(output)


def main(
    *, quick: Annotated[bool, Parameter(help="20,000 samples; writes no result")] = False
) -> None:
    """Time and memory of `explain` and `diff`, and whether `diff` counts what was put in."""
    count, rounds = (QUICK_SAMPLES, 1) if quick else (SAMPLES, ROUNDS)
    with tempfile.TemporaryDirectory(prefix="maskloom-lineage-") as temporary:
        root = Path(temporary)
        # In a process of its own: the memory of the one that starts another counts into its peak.
        builder = multiprocessing.get_context("spawn").Process(target=build, args=(root, count))
        builder.start()
        builder.join()
        if builder.exitcode:
            raise SystemExit(builder.exitcode)
        expected = json.loads((root / "expected.json").read_text())
        size = sum(file.stat().st_size for file in root.glob("data/**/*.parquet"))
        commands = {
            "explain": ("explain", expected["sample"]),
            "explain, by 12 digits": ("explain", expected["sample"][:12]),
            "diff": ("diff", "HEAD~1", "HEAD"),
        }
        rows: list[Row] = []
        wrong = 0
        for name, arguments in commands.items():
            measured = [run(root, *arguments) for _ in range(rounds)]
            answer = measured[-1][3]
            if name == "diff":
                counts = {key: answer["samples"][key] for key in expected["diff"]}
                wrong += counts != expected["diff"]
            else:
                wrong += answer["sample_id"] != expected["sample"]
                bounds = [rule["bound"] for rule in answer["rules"] if rule["rule"] == RULE]
                wrong += not np.allclose(bounds, [expected["bound"]], rtol=0, atol=1e-9)
            seconds, cpu, peaks = ([one[at] for one in measured] for at in range(3))
            rows.append(
                {
                    "command": name,
                    "samples": f"{count:,}",
                    "median s": round(float(np.median(seconds)), 2),
                    "worst s": round(max(seconds), 2),
                    "CPU s": round(float(np.median(cpu)), 2),
                    "peak GB": round(max(peaks), 3),
                }
            )
    bars = [
        Bar.at_most("worst seconds", max(float(row["worst s"]) for row in rows), MOST_SECONDS),
        Bar.at_most("peak memory, GB", max(float(row["peak GB"]) for row in rows), MOST_GB),
        Bar.at_most("wrong answers", wrong, 0),
    ]
    libraries = f"pyarrow {version('pyarrow')}"
    ran = what_ran(
        rounds=rounds, libraries=libraries, manifests=f"{size / 1e6:.0f} MB of parquet a state"
    )
    finish("lineage", ran, rows, bars, None if quick else RESULTS)


def _tables(rows: np.ndarray, differ: dict[str, np.ndarray]) -> tuple[pa.Table, ...]:
    """Prompts, samples, masks, scores and dataset of some rows."""
    prompt_ids, sample_ids = ids("prompt", rows=rows), ids("sample", rows=rows)
    seeds = [int(value, 16) >> 1 for value in prompt_ids]
    names = [CLASSES[row % len(CLASSES)] for row in rows.tolist()]
    texts = [
        f"a picture of a {name} on grass, {row}" for name, row in zip(names, rows, strict=True)
    ]
    shards = [_shard(row) for row in rows.tolist()]
    at = (rows % SHARD_SIZE * 3072 + 512).tolist()
    crc = {
        kind: (rows + 1_000_000_000 * differ[kind]).astype(np.uint32)
        for kind in ("images", "labels")
    }
    scores = [
        [{"name": name, "area": 0.2, "peak": 0.5, SCORE: margin}]
        for name, margin in zip(names, margins(rows).tolist(), strict=True)
    ]
    kept = (rows % 10 != 0) ^ differ["verdicts"]
    words = [
        [
            {
                "name": name,
                "phrase": name,
                "start": 15,
                "end": 15 + len(name),
                "relation": "plain",
                "depth": 0,
                "synset": "",
            }
        ]
        for name in names
    ]
    prompts = {
        "prompt_id": prompt_ids,
        "seed": seeds,
        "text": texts,
        "negative_prompt": [""] * len(rows),
        "classes": words,
        "source": ["templates"] * len(rows),
        "template": ["a picture of a {} on grass"] * len(rows),
        "caption_id": [""] * len(rows),
    }
    place = {"offset": at, "size": [100] * len(rows)}
    samples = {
        "sample_id": sample_ids,
        "prompt_id": prompt_ids,
        "seed": seeds,
        "shard": [f"data/samples/shards/{name}" for name in shards],
        **{f"image_{key}": value for key, value in place.items()},
        "image_crc32": crc["images"],
        **{f"attention_{key}": value for key, value in place.items()},
        "attention_crc32": crc["images"],
    }
    masks = {
        "sample_id": sample_ids,
        "shard": [f"data/masks/shards/{name}" for name in shards],
        **{f"label_{key}": value for key, value in place.items()},
        "label_crc32": crc["labels"],
        **{f"reliability_{key}": value for key, value in place.items()},
        "reliability_crc32": crc["labels"],
        "classes": scores,
    }
    scored = {
        "sample_id": sample_ids,
        "finite": [True] * len(rows),
        "dark": [0.1] * len(rows),
        "contrast": [40.0] * len(rows),
        "classes": scores,
    }
    addresses = {
        folder: [
            Member(f"data/{folder}/shards/{name}", offset, 100).uri
            for name, offset in zip(shards, at, strict=True)
        ]
        for folder in ("samples", "masks")
    }
    dataset = {
        "sample_id": sample_ids,
        "prompt_id": prompt_ids,
        "text": texts,
        "classes": scores,
        "kept": kept,
        "reason": ["" if one else "area 0.010 below min_area 0.04" for one in kept],
        "split": ["train" if one else "" for one in kept],
        "image": addresses["samples"],
        "attention": addresses["samples"],
        "label": addresses["masks"],
        "reliability": addresses["masks"],
    }
    schemas = (records.PROMPTS, records.SAMPLES, records.MASKS, records.SCORES, records.DATASET)
    columns = (prompts, samples, masks, scored, dataset)
    return tuple(_table(one, schema) for one, schema in zip(columns, schemas, strict=True))


def _table(columns: dict[str, Any], schema: pa.Schema) -> pa.Table:
    """Of ``schema``; columns that are not given are null."""
    count = len(next(iter(columns.values())))
    arrays = [
        pa.array(columns[field.name], field.type)
        if field.name in columns
        else pa.nulls(count, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _writer(path: Path, schema: pa.Schema) -> parquet.ParquetWriter:
    path.parent.mkdir(parents=True, exist_ok=True)
    return parquet.ParquetWriter(path, schema, compression="zstd")


def _shard(row: int) -> str:
    return f"{CLASSES[row % len(CLASSES)]}-{row // SHARD_SIZE:04d}.tar"


if __name__ == "__main__":
    cyclopts.run(main)
