"""What is checked of a grid before its first run starts."""

import tempfile
from pathlib import Path

import yaml

from flows.grids import FOLDER, Cell, Grid, cells, read_grid
from tasks.git import ask_git, uncommitted
from tasks.input_checks import mask_problems
from tasks.params import InputError, load_params
from tasks.presets import PRESETS

CODE = ("mmseg_configs", "presets", "storybook", "tasks")
"""The folders that the stages are made from."""


def checked(name: str, root: Path) -> tuple[Grid, list[Cell], str]:
    """A grid by its name, its runs in their order, and the commit that they work in.

    Raises:
        InputError: there is none, it or the parameters of a run break a rule, or it is not what the
            commit holds.
    """
    grid = read_grid(name, root)
    order = cells(grid, root)
    check_params(order, root)
    head = ask_git(["rev-parse", "--verify", "--quiet", "HEAD"], root)
    if head is None:
        raise InputError(
            f"{root}: has no commit, and runs work in clones of one; run this in a clone of the "
            "project, made by `git clone`"
        )
    presets = {setting.preset or grid.preset for setting in grid.settings.values()}
    read = [f"{FOLDER}/{name}.yaml", *(f"{PRESETS}/{preset}.yaml" for preset in sorted(presets))]
    if changed := uncommitted(root, [*read, "dvc.yaml"]):
        raise InputError(
            "\n".join(["not as the commit holds it, and runs work in clones of that:", *changed])
            + "\ncommit it, or restore what is committed by `git checkout`"
        )
    return grid, order, head.strip()


def left_out(root: Path) -> list[str]:
    """What is not committed, so not part of what is compared; of files new to git, code."""
    new = [line for line in uncommitted(root, CODE) if line.startswith("??")]
    return [*uncommitted(root, untracked=False), *new]


def check_params(order: list[Cell], root: Path) -> None:
    """Check the parameters of every run, and whether what its masks need is installed.

    Raises:
        InputError: one breaks a rule; the message names the setting.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "params.yaml"
        for cell in order:
            path.write_text(yaml.safe_dump(cell.params, allow_unicode=True), encoding="utf-8")
            try:
                params = load_params(path, lists=root)
            except InputError as error:
                told = str(error).replace(str(path), "params.yaml")
                raise InputError(f"{cell.name}: {told}") from None
            if problems := mask_problems(params):
                raise InputError(f"{cell.name}: {problems[0]}")
