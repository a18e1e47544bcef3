"""README.md and docs/: every command would start.

Commands stand in indented or fenced blocks, or in the text as `python -m ...`, `make ...`,
`dvc ...`. They are parsed by the programs' own parsers, in this process; what a command needs
beside this repository (a GPU, a server, the network) has to be said next to it.
"""

import importlib
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import cyclopts
import pytest
import yaml
from dvc.cli import DvcParserError
from dvc.cli.parser import get_main_parser

from flows.grids import grid_names
from tasks.presets import preset_names
from tests.toys.pages import NEEDS, PAGES, ROOT, Command, commands, parts, read
from tests.toys.parameters import check_params, nested

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
OWN = ("benchmarks", "flows", "storybook", "tasks")
RUN_ANOTHER = {"tasks.shards": "tasks.pruning"}
"""Modules that run another one's command line."""
FOLDERS = {"data/dataset", "data/masks", "data/samples"}


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


@cache
def makefile() -> str:
    return (ROOT / "Makefile").read_text(encoding="utf-8")


@cache
def deployments() -> set[str]:
    listed = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    return {f"synthesize/{deployment['name']}" for deployment in listed}


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
