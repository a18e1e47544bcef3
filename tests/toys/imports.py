"""What a module of this repository imports of it, read from its text."""

import ast
from collections.abc import Set as AbstractSet
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("benchmarks", "flows", "mmseg_configs", "storybook", "tasks")


@cache
def imported_files(path: str) -> frozenset[str]:
    """The repository's own files that ``path`` imports anywhere in its text, packages included."""
    found = set()
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            found |= module_files(name)
    return frozenset(found)


def module_files(name: str) -> set[str]:
    """The file of a module of this repository and the ``__init__`` of each package above it."""
    parts = name.split(".")
    if parts[0] not in PACKAGES:
        return set()
    candidates = ["/".join(parts) + ".py"]
    candidates += ["/".join([*parts[:n], "__init__.py"]) for n in range(1, len(parts) + 1)]
    return {candidate for candidate in candidates if (ROOT / candidate).is_file()}


def import_closure(paths: set[str], without: AbstractSet[str] = frozenset()) -> set[str]:
    """``paths`` and all files of this repository that they can come to import.

    Args:
        without: files that are left out, and what only they import.
    """
    closure: set[str] = set()
    todo = paths
    while todo:
        closure |= todo
        todo = set().union(*(imported_files(path) for path in todo)) - closure - without
    return closure


def tasks(*names: str) -> set[str]:
    """The files of modules of ``tasks``; of a package, all of them."""
    found = {f"tasks/{name}.py" for name in names if (ROOT / f"tasks/{name}.py").is_file()}
    folders = [ROOT / "tasks" / name for name in names if (ROOT / "tasks" / name).is_dir()]
    found |= {path.relative_to(ROOT).as_posix() for each in folders for path in each.glob("*.py")}
    return found | {"tasks/__init__.py"}
