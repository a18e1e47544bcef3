"""What a grid's parameters name and git does not hold: data sets, own models, lists of captions.

Runs work in clones, which have the commit alone; these are linked into them. Imports no torch.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from flows.graph import written_paths
from tasks.digests import CACHE_PATH, DigestCache, combine
from tasks.git import ask_git

Tree = dict[str, Any]


class OutsideInputs:
    """Files and folders that parameters name and a commit of the repository does not hold.

    Args:
        root: the repository, whose folder relative paths start from.
        commit: what the clones hold.
    """

    def __init__(self, root: Path, commit: str) -> None:
        self.root, self.commit = root.resolve(), commit
        self._written = {Path(path) for path in written_paths(root)}
        self._cache = DigestCache(self.root / CACHE_PATH)
        self._known: dict[Path, str] = {}

    def link(self, params: Tree, folder: Path) -> Tree:
        """Make them reachable in a clone: what lies in the user's tree is linked to.

        Links of runs before to what lies elsewhere now, or nowhere, are taken away.

        Returns:
            The parameters for the clone: relative paths that lead out of the tree are absolute.
        """
        for path in sorted(self._inside(params)):
            for part in (*reversed(path.parents[:-1]), path):
                self._refresh(folder / part, part)
            source, there = self.root / path, folder / path
            if _exists(source) and not _exists(there):
                there.parent.mkdir(parents=True, exist_ok=True)
                there.symlink_to(source.resolve())
        moved = {
            text: os.path.normpath(self.root / text)
            for text in _texts(params)
            if _leads_out(text) and _exists(self.root / text)
        }
        changed: Tree = _replaced(params, moved)
        return changed

    def digests(self, params: Tree) -> dict[str, str]:
        """Text of the parameters -> SHA-256 of the file or folder outside of git that it names."""
        inside = self._inside(params)
        found = {}
        for text in sorted(set(_texts(params))):
            path, place = Path(os.path.normpath(text)), self.root / text
            if not _exists(place) or self.root.is_relative_to(place.resolve()):
                continue  # no path, or a folder around everything, such as the text "." or "/"
            elsewhere = not place.resolve().is_relative_to(self.root)  # behind a link, too
            if elsewhere or (path in inside and not self._held(path)):
                found[text] = self._digest(place.resolve())
        self._cache.save()
        return found

    def _inside(self, params: Tree) -> set[Path]:
        """What texts say as paths in the tree, but for what the stages write, and folders around.

        A clone makes these its own. Most texts are no paths: nothing lies there.
        """
        paths = {
            Path(os.path.normpath(text))
            for text in _texts(params)
            if not Path(text).is_absolute() and not _leads_out(text)
        }
        around = {parent for path in self._written for parent in path.parents}
        return {
            path for path in paths - around - {Path()} if not self._written & {path, *path.parents}
        }

    def _refresh(self, link: Path, path: Path) -> None:
        if not _is_link(link) or link.readlink() == (self.root / path).resolve():
            return
        if not self._held(path):
            link.unlink()

    def _held(self, path: Path) -> bool:
        """Whether the commit has it, so that every clone does."""
        return bool(ask_git(["ls-tree", self.commit, "--", f"./{path.as_posix()}"], self.root))

    def _digest(self, place: Path) -> str:
        if place not in self._known:
            files = [place] if place.is_file() else _files_below(place)
            digests = {str(file.relative_to(place)): self._cache.file(file) for file in files}
            self._known[place] = combine(digests)
        return self._known[place]


def _files_below(folder: Path) -> Iterator[Path]:
    """All files, also those of folders that are linked to, each folder once."""
    seen = set()
    for here, folders, names in os.walk(folder, followlinks=True):
        place = Path(here)
        if place.resolve() in seen:
            folders.clear()
            continue
        seen.add(place.resolve())
        yield from (place / name for name in names if (place / name).is_file())


def _leads_out(text: str) -> bool:
    """Whether a relative path leads out of the folder that it starts from."""
    path = os.path.normpath(text)
    return path == ".." or path.startswith("../")


def _exists(path: Path) -> bool:
    """Whether it is there; a text that can be no path, such as a long negative prompt, is not."""
    try:
        return path.exists()
    except OSError:
        return False


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:
        return False


def _texts(tree: Any) -> Iterator[str]:
    if isinstance(tree, str) and tree:
        yield tree
    elif isinstance(tree, dict):
        for value in tree.values():
            yield from _texts(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _texts(value)


def _replaced(tree: Any, texts: Mapping[str, str]) -> Any:
    """The tree with other texts in place of some."""
    if isinstance(tree, dict):
        return {key: _replaced(value, texts) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_replaced(value, texts) for value in tree]
    return texts.get(tree, tree) if isinstance(tree, str) else tree
