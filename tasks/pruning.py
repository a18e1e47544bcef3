"""Remove what old runs left in ``.maskloom``: ``python -m tasks.shards prune``.

Finished shards, trainings and adaptations stay when parameters change, so that to change them back
costs nothing. What the last runs are made of is kept, and what the present parameters would use.
"""

import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter, validators
from rich.console import Console
from rich.filesize import decimal
from rich.prompt import Confirm
from rich.table import Table

from tasks import mask_shards, sample_shards
from tasks.durable import remove_abandoned
from tasks.entry import run_tool
from tasks.in_use import read_in_use
from tasks.params import InputError, Params, load_params
from tasks.version import project_version
from tasks.work_store import Job, WorkStore

TRAININGS = {"training": Path(".maskloom/training"), "lora": Path(".maskloom/lora")}
"""Kind -> folder of trainings, each a folder named by its fingerprint."""
SHARDS: dict[str, tuple[str, Callable[[Params, Path], Iterator[Job]]]] = {
    "samples": ("sample_images", sample_shards.shard_jobs),
    "masks": ("extract_masks", mask_shards.shard_jobs),
}
"""Kind -> stage and its plan."""
PRUNED = ".pruned"
DAY = 86_400

app = cyclopts.App(
    name="python -m tasks.shards", help="Look after the finished shards.", version=project_version
)


@dataclass(frozen=True)
class Piece:
    """Something in ``.maskloom`` that goes or stays as a whole.

    Attributes:
        paths: files, or one folder; removed in this order.
        used: whether it stays.
    """

    kind: str
    paths: tuple[Path, ...]
    used: bool

    @property
    def files(self) -> list[Path]:
        """All files of it."""
        inside = [path.rglob("*") if path.is_dir() else [path] for path in self.paths]
        return [file for files in inside for file in files if file.is_file()]

    @property
    def size(self) -> int:
        """Bytes."""
        return sum(file.stat().st_size for file in self.files)

    @property
    def frees(self) -> int:
        """Bytes that the disk gains: those that no output and no cache of DVC links to as well."""
        return sum(stat.st_size for file in self.files if (stat := file.stat()).st_nlink == 1)

    @property
    def changed(self) -> float:
        """When it was written last, in seconds since the epoch."""
        return max((file.stat().st_mtime for file in self.files), default=0.0)

    def remove(self) -> None:
        """Remove it, so that nothing half removed can be taken for whole."""
        for path in self.paths:
            if path.is_dir():
                gone = path if path.suffix == PRUNED else path.rename(f"{path}{PRUNED}")
                shutil.rmtree(gone)
            else:
                path.unlink(missing_ok=True)


def find_pieces(params: Params, root: Path = Path()) -> list[Piece]:
    """All that lies in the stores."""
    pieces: list[Piece] = []
    for kind, (stage, jobs) in SHARDS.items():
        used = read_in_use(stage, root)
        if used is not None:
            with suppress(OSError, InputError):  # the stages before it have not run
                used |= {job.fingerprint for job in jobs(params, root)}
        pieces += _shard_pieces(kind, WorkStore(stage, root), used)
    for kind, folder in TRAININGS.items():
        used = read_in_use(kind, root)
        for path in sorted((root / folder).glob("*/")):
            stays = path.suffix != PRUNED and (used is None or path.name in used)
            pieces.append(Piece(kind, (path,), stays))
    return pieces


def _shard_pieces(kind: str, store: WorkStore, used: set[str] | None) -> Iterable[Piece]:
    """Each shard with its record, and shards that no record names."""
    remove_abandoned(store.folder)
    named = set()
    for record in sorted(store.folder.glob("*.json")):
        finished = store.find(record.stem)
        paths = (record, finished.path) if finished else (record,)
        named |= set(paths)
        yield Piece(kind, paths, finished is not None and (used is None or record.stem in used))
    for path in sorted(store.folder.glob("*.tar")):
        if path not in named:
            yield Piece(kind, (path,), False)


def show(pieces: list[Piece], stale: list[Piece], console: Console) -> None:
    """A table of what lies where and what would go."""
    table = Table("", "there", "kept", "to remove", "frees", box=None, pad_edge=False)
    for kind in (*SHARDS, *TRAININGS):
        mine = [piece for piece in pieces if piece.kind == kind]
        going = [piece for piece in stale if piece.kind == kind]
        whole, gone = (sum(piece.size for piece in some) for some in (mine, going))
        frees = decimal(sum(piece.frees for piece in going))
        there = f"{len(mine)}, {decimal(whole)}"
        kept = f"{len(mine) - len(going)}, {decimal(whole - gone)}"
        table.add_row(kind, there, kept, f"{len(going)}, {decimal(gone)}", frees)
    console.print(table)


@app.command
def prune(
    *,
    yes: Annotated[bool, Parameter(help="do not ask", negative="")] = False,
    older_than: Annotated[
        float,
        Parameter(
            help="only what was written so many days ago", validator=validators.Number(gte=0)
        ),
    ] = 0.0,
) -> None:
    """Show what old runs left in .maskloom, and remove it when told to.

    What the last run of each stage is made of, finished or not, is kept, and what the present
    parameters would use. What an output or DVC's cache links to as well frees the disk only when it
    is gone from there too (`dvc gc --workspace --all-commits --all-experiments`).
    """
    pieces = find_pieces(load_params())
    before = time.time() - older_than * DAY
    stale = [piece for piece in pieces if not piece.used and piece.changed <= before]
    console = Console()
    show(pieces, stale, console)
    if not stale:
        console.print("Nothing to remove.")
        return
    if not yes:
        if not console.is_terminal:
            raise InputError("prune: asks before it removes, and there is no terminal; add --yes")
        if not Confirm.ask("Remove it?", console=console, default=False):
            return
    for piece in stale:
        piece.remove()
    console.print(f"Removed {len(stale)}.")


if __name__ == "__main__":
    run_tool(app)
