"""README.md and docs/: every command would start, every key and link leads somewhere.

Commands stand in indented or fenced blocks, or in the text as `python -m ...`, `make ...`,
`dvc ...`. They are parsed by the programs' own parsers, in this process; what a command needs
beside this repository (a GPU, a server, the network) has to be said next to it.
"""

import importlib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import cyclopts
import pytest
import yaml
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser

from benchmarks.readme import with_results
from flows.grids import Grid, cells, grid_names
from tasks.params import Params
from tasks.presets import preset_names

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKING = [*PAGES, ROOT / "CHANGELOG.md", ROOT / "mmseg_configs/README.md"]
PROGRAMS = ("python -m ", "make ", "dvc ", "prefect ", "torchrun ", "hf ")
NEEDS = re.compile(r"needs (a|several|the) (GPUs?|cluster|server|network)\b")
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
OWN = ("benchmarks", "flows", "storybook", "tasks")
RUN_ANOTHER = {"tasks.shards": "tasks.pruning"}
"""Modules that run another one's command line."""
FOLDERS = {"data/dataset", "data/masks", "data/samples"}


class Command(NamedTuple):
    """A line of a page that someone may run; ``needs`` is whether it says what it needs."""

    text: str
    needs: bool


def blocks(page: str) -> Iterator[tuple[str, str]]:
    """Kind ("" for commands, "yaml", ...) and text of the fenced and indented blocks."""
    for kind, text in re.findall(r"^```(\w*)\n(.*?)^```$", page, re.M | re.S):
        yield kind, text
    for text in re.findall(r"(?:^ {4}.*\n)+", without_fences(page), re.M):
        yield "", re.sub(r"^ {4}", "", text, flags=re.M)


def without_fences(page: str) -> str:
    return re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S)


def spans(page: str) -> Iterator[tuple[str, str]]:
    """What stands in backquotes in the text, on one line, and what follows it."""
    prose = re.sub(r"^ {4}.*\n", "", without_fences(page), flags=re.M)
    for span in re.finditer(r"`([^`]+)`", prose):
        yield " ".join(span[1].split()), prose[span.end() : span.end() + 30]


def commands(page: str) -> Iterator[Command]:
    """The commands of a page, with continued lines joined."""
    for kind, text in blocks(page):
        for line in text.replace("\\\n", " ").splitlines() if not kind else ():
            yield Command(line, bool(NEEDS.search(line)))
    for span, after in spans(page):
        if span.startswith(PROGRAMS):
            yield Command(span, bool(NEEDS.match(after.lstrip(" (\n"))))


def parts(line: str) -> list[list[str]]:
    """The words of each command of a line, its comment left out."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("|&;"):
            found.append([])
        else:
            found[-1].append(word)
    return found


def check(command: Command) -> None:
    """Whether a line would start as it stands.

    Raises:
        AssertionError: something in it is misspelt, or it does not say what it needs.
    """
    for words in parts(command.text):
        while re.fullmatch(r"[A-Z_]+=.+", words[0]):
            words.pop(0)
        program, *rest = words
        match program:
            case "python":
                assert rest[0] == "-m", command.text
                check_module(rest[1], rest[2:], command.needs)
            case "torchrun":
                from torch.distributed.run import get_args_parser

                parsed = get_args_parser().parse_args(rest)
                assert command.needs, f"{program}: say what it needs"
                check_module(parsed.training_script, parsed.training_script_args, command.needs)
            case "make":
                targets = re.findall(r"^([a-z-]+):.*## ", makefile(), re.M)
                assert rest and set(rest) <= set(targets), f"no such target of make: {rest}"
            case "dvc":
                check_dvc(rest)
            case "prefect":
                assert command.needs, f"{program}: say what it needs"
                assert rest[:2] == ["deployment", "run"] and rest[2] in deployments(), rest
            case "hf":
                assert command.needs, f"{program}: say what it needs"
            case "export" | "cp" | "source":
                assert rest and (program != "source" or rest == [".venv/bin/activate"])
            case _:
                raise AssertionError(f"{program}: what is this?")


def check_module(module: str, arguments: list[str], needs: bool) -> None:
    """Whether a module's command line takes the arguments."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        spec = None
    assert spec and spec.origin, f"no module {module}"
    if not module.startswith(OWN):
        assert needs, f"{module}: say what it needs"
        return
    assert '__name__ == "__main__"' in Path(spec.origin).read_text(encoding="utf-8"), module
    entry = importlib.import_module(RUN_ANOTHER.get(module, module))
    app = getattr(entry, "app", None)
    if app is None:
        app = cyclopts.App()
        app.default(entry.main)
    try:
        _, bound, _ = app.parse_args(arguments, print_error=False, exit_on_error=False)
    except cyclopts.CycloptsError as error:
        raise AssertionError(f"{module}: {error}") from None
    values = bound.arguments
    if module == "tasks.presets" and "name" in values:
        assert values["name"] in preset_names(ROOT), f"no preset {values['name']}"
    if module in ("flows.compare", "benchmarks.comparisons"):
        assert set(values.get("grids", ())) <= set(grid_names(ROOT)), f"no such grid: {values}"
    if module == "flows.synthesize":
        named = {values[key] for key in ("only", "upto", "start") if values.get(key)}
        assert named <= set(STAGES), f"no such stage: {named}"


def check_dvc(arguments: list[str]) -> None:
    """Whether DVC takes the arguments, and knows the stages, folders and parameters they name."""
    try:
        parsed = get_main_parser().parse_args(arguments)
    except DvcParserError:
        raise AssertionError(f"dvc does not take {arguments}") from None
    if known := {"repro": set(STAGES), "push": FOLDERS}.get(parsed.cmd):
        assert set(parsed.targets) <= known, f"dvc {parsed.cmd}: there are {', '.join(known)}"
    for change in getattr(parsed, "set_param", None) or ():
        key, _, value = change.partition("=")
        check_params(nested(key, yaml.safe_load(value)))


def nested(key: str, value: Any) -> dict[str, Any]:
    """``a.b`` and a value as ``{a: {b: value}}``."""
    for part in reversed(key.split(".")):
        value = {part: value}
    result: dict[str, Any] = value
    return result


def check_params(changes: dict[str, Any]) -> None:
    """Whether these are parameters, with values that may be."""

    def merge(here: Any, there: Any) -> Any:
        if not isinstance(here, dict) or not isinstance(there, dict):
            return there
        return {**here, **{key: merge(here.get(key), value) for key, value in there.items()}}

    preset = yaml.safe_load((ROOT / "presets/storybook.yaml").read_text(encoding="utf-8"))
    try:
        Params.model_validate(merge(preset, changes))
    except ValueError as error:
        raise AssertionError(str(error)) from None


@cache
def makefile() -> str:
    return (ROOT / "Makefile").read_text(encoding="utf-8")


@cache
def deployments() -> set[str]:
    listed = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    return {f"synthesize/{deployment['name']}" for deployment in listed}


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


COMMANDS = sorted({command for page in PAGES for command in commands(read(page))})


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.text)
def test_a_command_would_start(command: Command) -> None:
    check(command)


@pytest.mark.parametrize(
    "text",
    [
        "python -m tasks.exprot voc exported",
        "python -m tasks.verdicts",
        "python -m tasks.export vox exported",
        "python -m tasks.export voc exported --splt train",
        "python -m tasks.lineage dif HEAD~1",
        "python -m tasks.presets use vco12",
        "python -m tasks.sample_images --quick",
        "python -m flows.compare laddr",
        "python -m flows.synthesize --upto filter_mask",
        "python -m flows.synthesize --fan-out.runner proceses",
        "python -m wn download oewn",
        "make dmo",
        "dvc rpro",
        "dvc repro filter_mask",
        "dvc push data/datasets",
        "dvc exp run -S extract_masks.attn2mask.betta=0.2",
        "dvc exp run -S extract_masks.attn2mask.beta=much",
        "make demo && python -m tasks.presets use vco12",
        "PREFECT_API_URL=x prefect deployment run synthesize/pipelines  # needs a server",
        "prefect deployment run synthesize/pipeline",
        "torchrun --nproc-per-node 4 -m tasks.train_segmenter",
        "torchrun --nproc-per-node 4 -m tasks.train_segmenters  # needs several GPUs",
        "hf download some/model",
        "frobnicate",
    ],
)
def test_a_misspelt_command_or_one_that_hides_its_needs_is_found(text: str) -> None:
    with pytest.raises(AssertionError):
        check(Command(text, bool(NEEDS.search(text))))


def test_commands_are_found_in_blocks_and_in_the_text() -> None:
    page = """
Run `make demo`, not `data/x`, or `python -m wn
download NAME` (needs the network).

    dvc repro  # first
    python -m a \\
      --b c

```yaml
make: no command
```

```
hf download x    # needs the network
```
"""
    assert list(commands(page)) == [
        ("hf download x    # needs the network", True),
        ("dvc repro  # first", False),
        ("python -m a    --b c", False),
        ("make demo", False),
        ("python -m wn download NAME", True),
    ]
    assert parts("A=b python -m a 'c d' && make x | y # z") == [
        ["A=b", "python", "-m", "a", "c d"],
        ["make", "x"],
        ["y"],
    ]


def check_key(span: str, known: Params) -> None:
    """A ``section.key`` or ``section.key: value`` is one of the parameters; all else passes."""
    key, colon, value = span.partition(": ")
    section, *rest = key.split(".")
    if section not in Params.model_fields or not re.fullmatch(r"[\w.]+", key):
        return
    if colon:
        check_params(nested(key, yaml.safe_load(value)))
    here: Any = known.model_dump()[section]
    for part in rest:
        assert isinstance(here, dict) and (part in here or not here), span
        here = here.get(part)


@pytest.fixture(scope="module")
def storybook() -> Params:
    return Params.model_validate(yaml.safe_load(read(ROOT / "presets/storybook.yaml")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_parameters_are_there(page: Path, storybook: Params) -> None:
    """``section.key`` and ``section.key: value`` in the text, and blocks of YAML."""
    for span, _ in spans(read(page)):
        check_key(span, storybook)
    for kind, text in blocks(read(page)):
        if kind == "yaml" and "settings" in (told := yaml.safe_load(text)):
            for cell in cells(Grid.model_validate(told), ROOT):
                Params.model_validate(cell.params)
        elif kind == "yaml":
            check_params(told)


@pytest.mark.parametrize(
    "span",
    [
        "train_segmenter.iteration",
        "train_segmenter.iterations.first",
        "train_segmenter.iterations: many",
        "extract_masks.attn2mask.betta",
    ],
)
def test_a_parameter_that_is_not_there_is_found(span: str, storybook: Params) -> None:
    with pytest.raises(AssertionError):
        check_key(span, storybook)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", without_fences(read(page)), re.M)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", LINKING, ids=lambda page: page.parent.name + "/" + page.name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", without_fences(read(page))):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_and_every_grid_is_told_of() -> None:
    linked = set(re.findall(r"\]\((docs/\w+\.md)", read(ROOT / "README.md")))
    assert linked == {f"docs/{page.name}" for page in PAGES[1:]}
    told = re.findall(r"^\| (`.*?`) \|", read(ROOT / "docs/compare.md"), re.M)
    assert sorted(", ".join(told).replace("`", "").split(", ")) == grid_names(ROOT)


def test_the_readme_is_one_that_is_read() -> None:
    """Short, but for what is measured: those lines come and go with the records."""
    page = with_results(read(ROOT / "README.md"), "")
    assert len(page.splitlines()) <= 190
