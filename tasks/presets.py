"""Presets: complete, commented parameter files. Choosing one replaces ``params.yaml``.

python -m tasks.presets list | use NAME | diff NAME
"""

import difflib
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import cyclopts
from cyclopts import Parameter

from tasks.durable import new_file
from tasks.git import ask_git
from tasks.params import InputError, load_params, read_raw
from tasks.version import project_version

PRESETS = Path("presets")
PARAMS = Path("params.yaml")
BACKUP = Path("params.yaml.bak")

Name = Annotated[str, Parameter(help="of a preset, as `list` shows them")]

app = cyclopts.App(
    name="python -m tasks.presets", help="Choose a preset of params.yaml.", version=project_version
)


def preset_path(name: str, root: Path = Path()) -> Path:
    """The file of a preset.

    Raises:
        InputError: there is no such preset.
    """
    path = root / PRESETS / f"{name}.yaml"
    if not path.is_file():
        names = preset_names(root)
        near = difflib.get_close_matches(name, names, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(names)}"
        raise InputError(f"no preset {name!r}; {hint}")
    return path


def preset_names(root: Path = Path()) -> list[str]:
    """The names of all presets, sorted.

    Raises:
        InputError: there is none.
    """
    names = sorted(path.stem for path in (root / PRESETS).glob("*.yaml"))
    if not names:
        raise InputError(f"{root / PRESETS}: holds no preset; run from the repository root")
    return names


def use_preset(name: str, force: bool = False, root: Path = Path()) -> Path | None:
    """Replace ``params.yaml`` with a preset.

    Returns:
        The copy of what was replaced, where that is found nowhere else.

    Raises:
        InputError: the preset is unknown or breaks a rule, or, without ``force``, ``params.yaml``
            holds changes that neither git nor a preset holds.
    """
    preset = preset_path(name, root)
    load_params(preset, lists=None)  # the files that it names may lie elsewhere here
    params, backup = root / PARAMS, None
    if params.exists() and not _kept_elsewhere(params, root):
        backup = _free_backup(root)
        if not force:
            raise InputError(
                f"{PARAMS} holds changes that are neither committed nor a preset; commit them, or "
                f"give --force, which keeps them as {backup.name}"
            )
        with new_file(backup) as file:
            file.write(params.read_bytes())
    with new_file(params) as file:
        file.write(preset.read_bytes())
    return backup


def _free_backup(root: Path) -> Path:
    """A name that no earlier backup has: .bak, .bak1, .bak2, ..."""
    return next(
        path for number in count() if not (path := root / f"{BACKUP}{number or ''}").exists()
    )


def differences(ours: Any, theirs: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """The keys, dotted, at which two parameter trees differ, with both values; None = not there."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in {**ours, **theirs}:
            yield from differences(ours.get(name), theirs.get(name), f"{key}.{name}".strip("."))
    elif ours != theirs:
        yield key, ours, theirs


def _kept_elsewhere(params: Path, root: Path) -> bool:
    content = params.read_bytes()
    if any(preset_path(name, root).read_bytes() == content for name in preset_names(root)):
        return True
    committed = ask_git(["show", f"HEAD:./{PARAMS}"], root)
    return committed is not None and committed.encode() == content


@app.command(name="list")
def list_presets() -> None:
    """List the presets; * marks the one that params.yaml is."""
    content = PARAMS.read_bytes() if PARAMS.exists() else None
    for name in preset_names():
        preset = preset_path(name).read_bytes()
        purpose = preset.decode().partition("\n")[0].lstrip("# ")
        print("*" if preset == content else " ", purpose)


@app.command
def use(
    name: Name,
    *,
    force: Annotated[bool, Parameter(help="replace changes that are kept nowhere else")] = False,
) -> None:
    """Replace params.yaml with a preset."""
    backup = use_preset(name, force)
    print(f"{PARAMS} is the preset {name} now" + (f"; before: {backup}" if backup else ""))


@app.command
def diff(name: Name) -> None:
    """Show where params.yaml differs from a preset: key, value here, value there."""
    preset = preset_path(name)
    if not PARAMS.exists():
        raise InputError(
            f"{PARAMS}: no such file to compare; `python -m tasks.presets use {name}` makes it"
        )
    for key, here, there in differences(read_raw(PARAMS), read_raw(preset)):
        print(f"{key}: {here!r} here, {there!r} in {name}")


def main() -> None:
    """Run the command line; an `InputError` ends it with its message and status 1."""
    try:
        app()
    except InputError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
