"""What `tasks.provenance.explain` finds, for a terminal: where a sample comes from, and why.

Text of manifests is shown as text, never as markup. Imports no torch.
"""

from typing import Any

import yaml
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tasks.lineage_views import commit_text, facts, grid, marked, outcome_text, run_text, score_text
from tasks.plain_text import plain

Row = dict[str, Any]


def explanation(sample: Row) -> Group:
    """What `tasks.provenance.explain` returns."""
    prompt, model, adapter = sample["prompt"], sample["model"], sample["adapter"]
    verdict = sample["verdict"]
    parts: list[RenderableType] = [
        facts(
            [
                ("sample", Text(sample["sample_id"], "bold")),
                ("prompt", marked(prompt["text"], prompt["classes"])),
                ("negative prompt", prompt["negative_prompt"] or "(none)"),
                ("sentence", _sentence(prompt)),
                ("seed", prompt["seed"]),
                ("batch size", sample["batch_size"]),
                (
                    "base model",
                    f"{model['path']}, SHA-256 {model['digest'] or 'not known any more'}",
                ),
                (
                    "adapter",
                    f"SHA-256 {adapter['digest']}, scale {adapter['scale']}" if adapter else "none",
                ),
            ]
        ),
        "",
        grid(
            *("class", "word", "is its", "levels below", "synset"),
            rows=(
                (one["name"], one["phrase"], _relation(one), one["depth"], one["synset"] or "-")
                for one in prompt["classes"]
            ),
            title="Words",
        ),
    ]
    if verdict:
        parts.append(_verdict(verdict))
    parts += ["", *_scores(sample), "", _files(sample["files"])]
    if sample["parameters"]:
        text = yaml.safe_dump(sample["parameters"], sort_keys=False, default_flow_style=None)
        parts += ["", Text("Parameters that made it (dvc.lock)", "italic"), Text(text.rstrip())]
    if sample["parameters_changed"]:
        parts += ["", _changed_since(sample["parameters_changed"])]
    parts += ["", _origin(sample)]
    parts += [Text(plain(f"Note: {note}"), "yellow") for note in sample["notes"]]
    return Group(*parts)


def _relation(one: Row) -> str:
    return "plain name" if one["relation"] == "plain" else str(one["relation"])


def _sentence(prompt: Row) -> str:
    if prompt["source"] == "templates":
        return f"template {prompt['template']!r}"
    how = "caption" if prompt["source"] == "captions" else "caption, class names appended,"
    return f"{how} {prompt['caption_id']}"


def _verdict(verdict: Row) -> Text:
    kept = verdict.get("kept")
    said = Text("\n")
    said.append("KEPT" if kept else "REJECTED", "bold green" if kept else "bold red")
    if kept:
        said.append(plain(f", split {verdict.get('split')}: every rule of filter_masks holds"))
    else:
        said.append(plain(f": {verdict.get('reason')}"))
    return said


def _scores(sample: Row) -> list[RenderableType]:
    """Its scores beside what filter_masks asks of them: of its classes, and of it as a whole."""
    shown: list[RenderableType] = []
    rules: list[Row] = sample["rules"]
    classes, whole = sample["classes"], sample["scores"]
    if classes:
        first, *names = classes[0]  # a column a class: there are more scores
        rows = [
            [name, _asked(of := [one for one in rules if one["class"] and _score_of(one) == name])]
            + [_judged(one[name], [rule for rule in of if rule["class"] == one[first]])
               for one in classes]
            for name in names
            if any(one[name] is not None for one in classes)
        ]  # fmt: skip
        columns = ("score", "asked", *(one[first] for one in classes))
        shown.append(grid(*columns, rows=rows, title="Scores of its classes"))
    rows = []
    for name, value in whole.items():
        of = [one for one in rules if one["class"] is None and _score_of(one) == name]
        if value not in (None, ""):
            rows.append([name, _asked(of), _judged(value, of)])
    if rows:
        shown += [
            "",
            grid("score", "asked", "value", rows=rows, title="Scores of the whole sample"),
        ]
    notes = {f"{one['class']}: {one['note']}" for one in rules if one["note"]}
    return shown + [Text(plain(note), "dim") for note in sorted(notes)]


def _score_of(rule: Row) -> str:
    return str(rule["rule"]).partition("_")[2]


def _asked(rules: list[Row]) -> str:
    """What rules about one score ask: "min_area 0.04, max_area 0.8"; a quantile is named once."""
    asked = {
        one["rule"]: f"{one['bound']:.4g}"
        if one["quantile"] is None
        else f"quantile {one['quantile']:g}"
        for one in rules
    }
    return ", ".join(f"{rule} {bound}" for rule, bound in asked.items())


def _judged(value: Any, rules: list[Row]) -> Any:
    """A score, red where it breaks a rule, with the bound where that is a quantile of the class."""
    text = str(score_text(value))
    for one in rules:
        if one["quantile"] is not None and one["bound"] is not None:
            text += f" ({one['rule']} {one['bound']:.4g})"
    broken = any(one["holds"] is False for one in rules)
    return Text(plain(text + (" BROKEN" if broken else "")), "bold red" if broken else "")


def _files(files: Row) -> RenderableType:
    """Each file on two lines, so that paths and digests stay whole on a narrow terminal."""
    states = {
        True: ("intact", "green"),
        False: ("DAMAGED or missing", "bold red"),
        None: ("not compared, as its index holds no CRC-32", "yellow"),
    }
    rows = []
    for part, at in files.items():
        place = Text(plain(f"{at['shard']}, {at['size']:,} bytes at {at['offset']:,}: "))
        place.append(*states[at["intact"]])
        rows += [(part, place), ("", at["sha256"] or "-")]
    return Group(Text("Files, with their SHA-256", "italic"), facts(rows))


def _changed_since(changes: list[Row]) -> Table:
    rows = ((one["key"], one["made_with"], one["now"]) for one in changes)
    title = "params.yaml has other values now: `dvc repro` would make other samples"
    return grid("key", "made with", "now", rows=rows, title=title)


def _origin(sample: Row) -> Table:
    """The commit, and the runs of the flow, each with the stages that it ran for this sample."""
    found: list[tuple[str, Any]] = [("first commit", commit_text(sample["revision"]))]
    stages: dict[str, list[str]] = {}
    for stage, run in sample["runs"].items():
        if run is None:
            stages.setdefault("", []).append(stage)
        else:
            stages.setdefault(run_text(run), []).append(f"{stage} {outcome_text(run)}")
    for told, of in stages.items():
        found += [("run", told)] if told else [("no run", "nothing in the run log of")]
        found.append(("", ", ".join(of)))
    return facts(found)
