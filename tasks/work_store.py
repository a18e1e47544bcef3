"""The work store: finished shards outside DVC's outputs, so that no run loses or repeats them.

A shard is named by its fingerprint, a hash of all that its bytes are made from: other parameters
never meet it. Below ``.maskloom/store/<stage>`` lie the shard, ``<fingerprint>-<digest>.tar``, and
its record, ``<fingerprint>.json``, with its checksum and what the stage's index says of its
samples. The record is written last, and both as `tasks.durable` does it: a shard with a record is
whole, whenever the machine died. Processes that finish the same shard at once end in a record that
fits one of them.

Outputs are hard links of the shards where the file system has them, until DVC puts links of its own
cache in their place. Who edits an output in place before that edits the store: so all bytes are
compared with the checksum before a shard is used again.

Imports no torch.
"""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tasks import records
from tasks.durable import new_file, remove_abandoned
from tasks.in_use import write_in_use
from tasks.params import InputError
from tasks.progress import progress

log = logging.getLogger(__name__)

STORE = Path(".maskloom/store")
"""From the repository root."""
FORMAT = 1
"""Raised when records are written otherwise; older ones are then computed again."""

Row = dict[str, Any]


class Job(Protocol):
    """A shard to compute: its name among the outputs, and all that makes its bytes, hashed."""

    @property
    def name(self) -> str:
        """Of the shard among the outputs."""

    @property
    def fingerprint(self) -> str:
        """The hash of all that makes its bytes."""


J = TypeVar("J", bound=Job)


@dataclass(frozen=True)
class Shard:
    """A shard as it was computed, here or elsewhere.

    Attributes:
        data: the tar file.
        entries: what the stage's index says of each sample, values of JSON.
    """

    data: bytes
    entries: list[Row]


@dataclass(frozen=True)
class Finished:
    """A shard of the store.

    Attributes:
        path: the tar file.
        digest: its SHA-256, 64 hex digits.
        entries: as those of `Shard`.
    """

    path: Path
    digest: str
    entries: list[Row]


class WorkStore:
    """The finished shards of a stage.

    Args:
        stage: its name.
        root: the repository root.
    """

    def __init__(self, stage: str, root: Path = Path()) -> None:
        self.stage = stage
        self.folder = root / STORE / stage
        self._root = root

    def find(self, fingerprint: str) -> Finished | None:
        """A finished shard, its bytes not looked at; None where there is none."""
        try:
            record = json.loads(self._record(fingerprint).read_text(encoding="utf-8"))
            digest, entries = record["digest"], record["entries"]
            if record["check"] != _check(fingerprint, digest, entries):
                raise ValueError("its checksum does not fit")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            log.warning("%s is damaged (%s) and computed again", self._record(fingerprint), error)
            return None
        path = self._shard(fingerprint, digest)
        return Finished(path, digest, entries) if path.is_file() else None

    def verify(self, fingerprint: str) -> bool:
        """Whether a shard is finished and every byte of it as it was written; tells if not."""
        finished = self.find(fingerprint)
        if finished is None:
            return False
        with open(finished.path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != finished.digest:
            log.warning(
                "%s is damaged (SHA-256 %s instead of %s) and computed again",
                finished.path,
                digest[:12],
                finished.digest[:12],
            )
        return digest == finished.digest

    def missing(self, jobs: Iterable[J]) -> Iterator[J]:
        """The jobs whose shards are not finished, or damaged, in their order, as they are asked."""
        return (job for job in jobs if not self.verify(job.fingerprint))

    def put(self, fingerprint: str, shard: Shard) -> Finished:
        """Keep a finished shard; it is on the disk when this returns.

        Raises:
            OSError: the disk is full or cannot be written; the store is as it was.
        """
        digest = hashlib.sha256(shard.data).hexdigest()
        path = self._shard(fingerprint, digest)
        with new_file(path) as file:
            file.write(shard.data)
        record = {
            "digest": digest,
            "check": _check(fingerprint, digest, shard.entries),
            "entries": shard.entries,
        }
        text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        with new_file(self._record(fingerprint)) as file:
            file.write(text.encode())
        return Finished(path, digest, shard.entries)

    def use(self, fingerprints: Sequence[str]) -> set[str]:
        """Say which shards the stage's run is made of, and find those that are not finished.

        What runs of this machine that were killed have left half written is removed.

        Returns:
            The fingerprints whose shards have to be computed.
        """
        write_in_use(self.stage, self.stage, fingerprints, self._root)
        self.folder.mkdir(parents=True, exist_ok=True)
        remove_abandoned(self.folder)
        there = [each for each in fingerprints if self._record(each).exists()]
        whole: set[str] = set()
        with progress("verifying", len(there), "shards", enabled=bool(there)) as advance:
            for fingerprint in there:
                if self.verify(fingerprint):
                    whole.add(fingerprint)
                advance(1)
        log.info("%d of %d shards are finished in %s", len(whole), len(fingerprints), self.folder)
        return set(fingerprints) - whole

    def hand_over(self, job: Job, target: Path) -> Finished:
        """Let ``target`` be a job's finished shard: a hard link or, where there are none, a copy.

        Raises:
            InputError: the shard is not in the store any more.
        """
        finished = self.find(job.fingerprint)
        if finished is None:
            raise InputError(
                f"{self.folder}: the shard {job.name} was removed while {self.stage} ran; run it "
                "again"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(finished.path, target)
        except OSError:  # another file system, or one without hard links
            shutil.copyfile(finished.path, target)
        return finished

    def _record(self, fingerprint: str) -> Path:
        return self.folder / f"{fingerprint}.json"

    def _shard(self, fingerprint: str, digest: str) -> Path:
        return self.folder / f"{fingerprint}-{digest[:16]}.tar"


def _check(fingerprint: str, digest: str, entries: list[Row]) -> str:
    return records.content_id(FORMAT, fingerprint, digest, entries)
