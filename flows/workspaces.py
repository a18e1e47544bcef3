"""Where the runs of a grid work: clones of the committed state that share what is finished."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue

from flows.outside_inputs import OutsideInputs
from flows.processes import ProcessGroups
from tasks.git import ask_git, git
from tasks.revisions import cache_folder
from tasks.work_store import STORE

WORK = Path(".maskloom/compare")


class Workspaces:
    """Clones of the committed state, each for one run at a time.

    Args:
        root: the repository.
        count: how many.
        commit: what they hold.

    Attributes:
        inputs: what is linked into them.
        commands: what runs in them.
    """

    def __init__(self, root: Path, count: int, commit: str) -> None:
        self.root, self.commit = root, commit
        self.inputs = OutsideInputs(root, commit)
        self.commands = ProcessGroups()
        self._free: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            self._free.put(root / WORK / f"workspace-{number}")

    @contextmanager
    def one(self) -> Iterator[Path]:
        """A clone that nobody else uses; waits for one."""
        folder = self._free.get()
        try:
            prepare_clone(self.root, folder, self.commit)
            yield folder
        finally:
            self._free.put(folder)


def prepare_clone(root: Path, folder: Path, commit: str) -> None:
    """Make ``folder`` a clone that holds ``commit``, and share the DVC cache and finished shards.

    What a run before has made by the same code from the same inputs is fetched from the cache;
    shards of images and masks from the work store, where code has changed that is not theirs.
    A folder that is no whole clone, as a kill may leave one, is made anew.
    """
    if not _is_clone(folder):
        # In a damaged one, git would find the repository around it, and check out there.
        partial = folder.with_name(f"{folder.name}.partial")
        for left in (folder, partial):
            shutil.rmtree(left, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        git(["clone", "--quiet", "--no-checkout", str(root), str(partial)], root)
        partial.rename(folder)
    git(["fetch", "--quiet", "origin", commit], folder)
    git(["checkout", "--quiet", "--force", "--detach", commit], folder)
    cache = cache_folder(root).resolve()
    config = ["config", "--quiet", "--local", "cache.dir", str(cache)]
    command = [sys.executable, "-m", "dvc", "--cd", str(folder), *config]
    subprocess.run(command, check=True, capture_output=True)
    store = (root / STORE).resolve()
    store.mkdir(parents=True, exist_ok=True)
    (folder / STORE).parent.mkdir(exist_ok=True)
    if not (folder / STORE).exists():
        (folder / STORE).symlink_to(store)


def _is_clone(folder: Path) -> bool:
    top = ask_git(["rev-parse", "--show-toplevel"], folder) if folder.is_dir() else None
    return top is not None and folder.samefile(top.rstrip("\n"))
