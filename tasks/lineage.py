"""Where samples and networks come from, what changed between revisions, and whether all is whole.

    python -m tasks.lineage explain 3f2a       a sample, by its id or a beginning of it
    python -m tasks.lineage explain exported/JPEGImages/3f2a.png       an exported image
    python -m tasks.lineage trace models/segmenter
    python -m tasks.lineage diff HEAD~1 workspace      with --page FILE, as a page to look at
    python -m tasks.lineage check
    python -m tasks.lineage croissant          the dataset for other tools and catalogues
    python -m tasks.lineage openlineage        the runs for other tools and catalogues

All of it is read from the manifests, ``dvc.lock``, DVC's cache, git and the flow's run log.
"""

import logging
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter
from cyclopts.types import NonNegativeInt
from rich.console import Console, RenderableType

from tasks import explanation_view
from tasks import lineage_views as views
from tasks.entry import run_tool
from tasks.strict_json import strict_json
from tasks.version import project_version

log = logging.getLogger(__name__)

app = cyclopts.App(
    name="python -m tasks.lineage",
    help="Where samples and networks come from, what changed, and whether all is whole.",
    version=project_version,
)

AsJson = Annotated[bool, Parameter(name="--json", negative="", help="print JSON for machines")]


@app.command
def explain(sample: str, *, as_json: AsJson = False) -> None:
    """Where a sample comes from, and why it was kept or rejected.

    Its prompt and the words replaced in it, seed, model, adapter, the parameters that made it,
    scores, verdict, files, the commit and the run of the flow.

    Args:
        sample: its id, a beginning of it that no other has, or an exported image file.
    """
    from tasks.provenance import explain

    found = explain(sample)
    _show(found, explanation_view.explanation(found), as_json)


@app.command
def trace(checkpoint: Path, *, as_json: AsJson = False) -> None:
    """A trained network back to every input.

    Its dataset, samples, masks, prompts, base model, adapter, labelled sets, initial weights,
    config, code and parameters. A copy is known by its content, an exported network by the weights
    that it names.

    Args:
        checkpoint: a folder such as models/segmenter, a file of weights, or what
            tasks.export_network wrote.
    """
    from tasks.checkpoint_trace import trace

    found = trace(checkpoint)
    _show(found, views.ancestry(found), as_json)


@app.command
def diff(
    before: str,
    after: str = "workspace",
    *,
    examples: Annotated[NonNegativeInt, Parameter(help="samples of each kind to list")] = 10,
    page: Path | None = None,
    as_json: AsJson = False,
) -> None:
    """What changed between two revisions.

    Parameters, code, kept samples per class, samples that came, went or changed (the same prompt
    with another image, label or verdict) and metrics. Nothing is checked out: what a commit made is
    read from DVC's cache.

    Args:
        before: a commit, branch or tag of git, a DVC experiment, or workspace.
        after: the same.
        page: write it as a page to look at instead, such as comparison.html.
    """
    from tasks.dataset_diff import compare
    from tasks.revisions import open_revision

    found = compare(open_revision(before), open_revision(after), examples)
    if page is None:
        _show(found, views.difference(found), as_json)
        return
    from tasks.compare_revisions import write_comparison

    write_comparison(found, page)
    print(page)


@app.command
def check(*, as_json: AsJson = False) -> None:
    """Verify every shard, index row and digest; status 1 when something is not whole.

    A flipped byte is found and its sample and shard are named.
    """
    from tasks.integrity import check

    found = check()
    _show(found, views.soundness(found), as_json)
    if not found["ok"]:
        raise SystemExit(1)


@app.command
def croissant(
    *,
    out: Path = Path("croissant.json"),
    name: str = "maskloom",
    license: str | None = None,
) -> None:
    """Describe data/dataset in Croissant 1.1, with provenance in W3C's words.

    Args:
        out: the file to write; it names the dataset's files relative to its own folder.
        name: of the dataset.
        license: URL of its licence; left out where none is given.
    """
    from tasks.croissant import describe
    from tasks.records import write_json

    write_json(out, describe(out, name=name, license=license))
    print(out)


@app.command
def openlineage(
    *,
    out: Path | None = None,
    url: Annotated[str | None, Parameter(env_var="OPENLINEAGE_URL")] = None,
) -> None:
    """The pipeline's runs as OpenLineage events, one JSON a line.

    They go to standard output, or to a file, or to an OpenLineage server, or to both of these.

    Args:
        out: a file to write.
        url: a server, such as http://localhost:5000. Without one nothing is sent.
    """
    from tasks.openlineage import events, send, to_lines

    found = list(events())
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(to_lines(found), encoding="utf-8")
        log.info("%d events: %s", len(found), out)
    if url:
        log.info("%d events sent to %s", send(found, url), url)
    if not out and not url:
        print(to_lines(found), end="")


def _show(found: Any, view: RenderableType, as_json: bool) -> None:
    if as_json:
        print(strict_json(found))
    else:
        Console(highlight=False).print(view)


if __name__ == "__main__":
    run_tool(app)
