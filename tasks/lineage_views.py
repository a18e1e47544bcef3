"""What `tasks.lineage` finds, for a terminal.

Text of manifests is shown as text, never as markup. Imports no torch.
"""

from collections.abc import Iterable
from typing import Any

import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from tasks.plain_text import plain

Row = dict[str, Any]

CLASS_STYLES = ("bold cyan", "bold magenta", "bold yellow", "bold green")


def marked(text: str, classes: Iterable[Row]) -> Text:
    """A prompt with its class words in colour."""
    shown, at = Text(), 0
    ordered = sorted(enumerate(classes), key=lambda pair: pair[1]["start"])
    for number, one in ordered:
        shown.append(plain(text[at : one["start"]]))
        style = CLASS_STYLES[number % len(CLASS_STYLES)]
        shown.append(plain(text[one["start"] : one["end"]]), style)
        at = one["end"]
    shown.append(plain(text[at:]))
    return shown


def facts(pairs: Iterable[tuple[str, Any]]) -> Table:
    """Name and value in two columns; None is left out."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        if value is not None:
            table.add_row(Text(name), value if isinstance(value, Text) else Text(plain(value)))
    return table


def grid(*columns: str, rows: Iterable[Iterable[Any]], title: str | None = None) -> Table:
    """A table of plain text."""
    table = Table(title=Text(title) if title else None, title_justify="left")
    for name in columns:
        table.add_column(Text(plain(name)), overflow="fold")
    for row in rows:
        cells = ("" if cell is None else cell for cell in row)
        table.add_row(*(one if isinstance(one, Text) else Text(plain(one)) for one in cells))
    return table


def difference(found: Row) -> Group:
    """What `tasks.dataset_diff.compare` returns."""
    before, after = (found[side]["revision"] for side in ("before", "after"))
    parts: list[RenderableType] = [Text(plain(f"{before} -> {after}"), "bold")]
    for name in ("parameters", "metrics"):
        rows = (
            [one["key"], score_text(one["before"]), score_text(one["after"])] for one in found[name]
        )
        parts += _section(name.capitalize(), grid("key", before, after, rows=rows), found[name])
    code = ([one["path"], one["change"], ", ".join(one["stages"])] for one in found["code"])
    parts += _section("Code", grid("path", "change", "stages", rows=code), found["code"])
    classes = (
        [one["class"], one["before"], one["after"], f"{one['after'] - one['before']:+d}"]
        for one in found["classes"]
    )
    table = grid("class", before, after, "change", rows=classes)
    parts += ["", Text("Kept samples per class", "italic"), table]
    samples = found["samples"]
    parts += [
        "",
        Text(
            f"Samples: {samples['before']:,} -> {samples['after']:,}; {samples['added']:,} added, "
            f"{samples['removed']:,} removed, {samples['changed']:,} changed",
            "bold",
        ),
        Text(
            f"of the changed, {samples['changed_images']:,} have another image, "
            f"{samples['changed_labels']:,} another label or reliability, "
            f"{samples['changed_verdicts']:,} another verdict; {samples['now_kept']:,} are kept "
            f"now, {samples['now_rejected']:,} rejected"
        ),
    ]
    examples = samples["examples"]
    for kind in ("added", "removed"):
        rows = ([one["sample_id"], verdict_of(one)] for one in examples[kind])
        if examples[kind]:
            parts.append(grid("sample", "verdict", rows=rows, title=f"First {kind}"))
    if examples["changed"]:
        rows = (
            [one["after"]["sample_id"], ", ".join(one["what"])]
            + [verdict_of(one[side]) for side in ("before", "after")]
            for one in examples["changed"]
        )
        columns = ("sample", "other", "verdict before", "verdict after")
        parts.append(grid(*columns, rows=rows, title="First changed"))
    return Group(*parts)


def ancestry(found: Row) -> Group:
    """What `tasks.checkpoint_trace.trace` returns."""
    checkpoint, commit, run = found["checkpoint"], found["recorded"], found["run"]
    source = checkpoint["made_from"]
    head = facts(
        [
            ("network", checkpoint["path"]),
            ("is", f"{found['output']} of {found['revision']['name']}"),
            ("SHA-256", checkpoint["sha256"]),
            ("made from", source and f"weights of MD5 {source}, as the file itself says"),
            ("first commit", commit_text(commit)),
            (
                "run",
                f"{outcome_text(run)} by {run_text(run)}"
                if run
                else "no run in the run log made it",
            ),
        ]
    )
    tree = Tree(Text(plain(found["output"]), "bold"))
    _grow(tree, found["made_by"])
    start = found["init_from"]
    if start is None:
        return Group(head, "", tree)
    begun = Text(plain(f"started from {start['path']}, SHA-256 {start['sha256']}"))
    return Group(head, "", tree, "", begun, *([ancestry(start["trace"])] if start["trace"] else []))


def _grow(tree: Tree, stage: Row) -> None:
    """Add a stage, its inputs, and what made these."""
    if stage.get("see_above"):
        tree.add(Text(f"made by {stage['stage']}, see above", "dim"))
        return
    files = len(stage["code"]["files"])
    said = Text.assemble("made by ", (stage["stage"], "bold cyan"))
    said.append(f", code {stage['code']['digest'][:12]} ({files} files)", "dim")
    branch = tree.add(said)
    own = stage["parameters"].get(stage["stage"], {})
    text = yaml.safe_dump(own, sort_keys=False, default_flow_style=True, width=2**20).strip()
    branch.add(Text(plain(text.removeprefix("{").removesuffix("}")), "dim"))
    for section, values in stage["parameters"].items():
        if section != stage["stage"]:
            branch.add(Text(plain(f"and of {section}: {', '.join(values)}"), "dim"))
    for one in stage["inputs"]:
        size = f"{one['size']:,} bytes" + (f" in {one['files']:,} files" if one["files"] else "")
        label = Text.assemble((plain(one["path"]), "bold"), f", MD5 {one['md5']}, {size}")
        if one["stale"]:
            label.append(" STALE: its stage has made another since; run `dvc repro`", "bold red")
        for name, value in one["facts"].items():
            label.append("\n" + plain(f"{name}: {value}"), "dim")
        leaf = branch.add(label)
        if "made_by" in one:
            _grow(leaf, one["made_by"])


def commit_text(commit: Row | None) -> str:
    """The commit whose ``dvc.lock`` holds what is told."""
    if commit is None:
        return "uncommitted: no commit's dvc.lock holds this"
    return f"{commit['commit'][:12]} of {commit['date']}: {commit['subject']}"


def soundness(found: Row) -> Group:
    """What `tasks.integrity.check` returns."""
    checked, findings = found["checked"], found["findings"]
    against = "dvc.lock and the indexes" if checked["against_dvc_lock"] else "the indexes"
    said = Text(
        f"{checked['files']:,} files, {checked['bytes'] / 1e6:,.1f} MB, {checked['shards']:,} "
        f"shards, {checked['samples']:,} samples checked against {against}: "
    )
    said.append(*(("all is whole", "bold green") if found["ok"] else ("NOT whole", "bold red")))
    rows = ([one["sample_id"] or "-", one["path"], one["fault"]] for one in findings)
    return Group(said, *([grid("sample", "file", "fault", rows=rows)] if findings else []))


def verdict_of(row: Row) -> str:
    """A dataset row's verdict in a few words."""
    if row["kept"] is None:
        return "none"
    return f"kept, {row['split']}" if row["kept"] else f"rejected: {row['reason']}"


def _section(title: str, table: Table, rows: list[Row]) -> list[RenderableType]:
    if not rows:
        return [Text(f"{title}: no change", "dim")]
    return ["", Text(title, "italic"), table]


def outcome_text(run: Row) -> str:
    """What became of a stage in a run, and its time."""
    seconds = f" in {run['seconds']:.0f} s" if run["seconds"] is not None else ""
    return f"{run['outcome'] or 'found'}{seconds}"


def run_text(run: Row) -> str:
    """A run of the flow: its id, when it began and where, and the code."""
    kept = f", kept as {run['version']}" if run["version"] else ""
    return (
        f"Prefect run {run['run_id']}, started {run['started']} on {run['host']}, code "
        f"{run['revision']}{kept}"
    )


def score_text(value: Any) -> Any:
    """A number with four digits; all else as it is."""
    return f"{value:.4f}" if isinstance(value, float) else value
