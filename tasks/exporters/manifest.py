"""What lies beside the exported pictures: ``manifest.json``, ``README.md``, ``dataset.parquet``.

The table has all rows of the dataset, the rejected ones and why, whatever was exported.
"""

import html
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from tasks.exporters.source import Labels, Source
from tasks.records import write_json

MANIFEST = "manifest.json"
TABLE = "dataset.parquet"
MADE_BY = "python -m tasks.export"
"""By this line of its manifest an export is known as one."""


def manifest(
    name: str,
    source: Source,
    labels: Labels,
    counts: tuple[Counter[str], Counter[str]],
) -> dict[str, Any]:
    """The contents of ``manifest.json``.

    Args:
        name: of the format.
        source: what was exported.
        labels: the classes.
        counts: see `Source.count`.
    """
    splits, classes = counts
    first = labels.first_class
    return {
        "made_by": MADE_BY,
        "format": name,
        "classes": labels.names,
        "background": labels.has_background,
        "ignore": labels.ignore,
        "samples": {split: splits[split] for split in sorted(splits)},
        "samples_per_class": {name: classes[name] for name in labels.names[first:]},
        "maps": list(dict.fromkeys(("label", *source.maps))),
        "images": "jpeg" if source.jpeg else "png",
        "origin": source.origin.describe(),
    }


def readme(facts: dict[str, Any], opening: str, head: dict[str, Any] | None) -> str:
    """The contents of ``README.md``.

    Args:
        facts: see `manifest`.
        opening: how to open the format.
        head: YAML that a dataset card begins with.
    """
    parts = ["---\n" + yaml.safe_dump(head, sort_keys=False) + "---\n"] if head else []
    origin = facts["origin"]
    splits = ", ".join(f"{count} {split}" for split, count in facts["samples"].items())
    digest = (
        f"`{origin['model_digest']}`" if origin["model_digest"] else "digest not known any more"
    )
    made = f"base model {_text(origin['model'])} ({digest})"
    if origin["adapter"]:
        made += f", adapter `{_text(origin['adapter'])}`"
    revision = f"`{origin['revision']}`" if origin["revision"] else "none that is committed"
    parts.append(
        "# A synthetic dataset for semantic segmentation\n\n"
        f"Made by Maskloom. Every image was made by a text-to-image model ({made}), and its label "
        "map from the model's attention: nobody drew or checked it. Each image file says so itself "
        "and carries its prompt and seed.\n\n"
        f"{splits}. Ignored pixels have the label value {facts['ignore']}.\n"
    )
    if "reliability" in facts["maps"]:
        parts.append(
            "\nReliability is a rank, 0 to 255: how clearly a pixel's class won, among the pixels "
            "of that class in the image.\n"
        )
    parts.append(f"\n## How to open it: {facts['format']}\n\n{opening}")
    parts.append("\n## Classes\n\n| label value | class | samples |\n| ---: | --- | ---: |\n")
    for value, name in enumerate(facts["classes"]):
        count = facts["samples_per_class"].get(name, "")
        parts.append(f"| {value} | {_text(name)} | {count} |\n")
    parts.append(
        "\n## Where it comes from\n\n"
        f"`{MANIFEST}` says it for machines, `{TABLE}` has a row for each sample of the dataset: "
        "prompt, seed, scores, verdict and, for those rejected, the reason.\n\n"
        f"* dataset (DVC): `{origin['dataset_md5']}`\n"
        f"* parameters, SHA-256: `{origin['parameters_digest']}` ({origin['parameters_from']})\n"
        f"* revision of `dvc.lock`: {revision}\n"
    )
    return "".join(parts)


def describe(
    out: Path, facts: dict[str, Any], opening: str, head: dict[str, Any] | None, source: Source
) -> None:
    """Write all three, the manifest last."""
    source.write_rows(out / TABLE)
    (out / "README.md").write_text(readme(facts, opening, head), encoding="utf-8")
    write_json(out / MANIFEST, facts)


def _text(value: str) -> str:
    """A value as text in a cell of a Markdown table."""
    escaped = html.escape(" ".join(value.split()), quote=False)
    return "".join(f"\\{c}" if c in "\\`*_[]|" else c for c in escaped)
