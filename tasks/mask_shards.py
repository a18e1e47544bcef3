"""Which shards a run of ``extract_masks`` consists of, and what each is made from.

A shard of masks belongs to a shard of samples. Nothing is held of a plan but the shard in hand and
a few bytes a prompt. Imports no torch.
"""

import hashlib
import socket
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from tasks import records
from tasks.digests import combine
from tasks.label_maps import BACKGROUND, label_dtype
from tasks.params import ExtractMasks, InputError, Params

CODE = (
    "captures.py",
    "extract_masks.py",
    "label_maps.py",
    "mask_methods.py",
    "masks.py",
    "refine.py",
    "uncertainty.py",
)
"""The code in ``tasks`` that the masks depend on; with it, finished shards are computed again."""
LIBRARIES = ("torch", "numpy", "opencv-python-headless")
"""Their versions are part of a shard's fingerprint."""

Row = dict[str, Any]


@dataclass(frozen=True)
class MaskJob:
    """A shard of masks to extract. It can be pickled.

    Attributes:
        name: of the shard, such as "car-0000.tar".
        rows: of ``data/samples/index.parquet``.
        names: of each row, the class of each phrase.
        section: how.
        values: class name -> label value.
        source: the shard of samples, from the repository root.
        digest: its SHA-256.
        code: digest of code and libraries.
        data: the bytes of ``source``, where they go along; None: they are read.
    """

    name: str
    rows: list[Row]
    names: list[tuple[str, ...]]
    section: ExtractMasks
    values: dict[str, int]
    source: str
    digest: str
    code: str
    data: bytes | None = None

    @cached_property
    def ids(self) -> list[str]:
        """The samples' ids."""
        return [row["sample_id"] for row in self.rows]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of all that the shard's bytes are made from."""
        values = {name: self.values[name] for names in self.names for name in names}
        every = self.values.values()
        labels = [str(label_dtype(max(every) + 1)), BACKGROUND in every]
        section = self.section.model_dump()
        return records.content_id(
            "masks", self.ids, self.names, self.digest, section, values, labels, self.code
        )

    def with_data(self, root: Path = Path()) -> "MaskJob":
        """The job with the samples in it, for a machine that does not share the disk."""
        return replace(self, data=self.read(root))

    def read(self, root: Path = Path()) -> bytes:
        """The shard of samples.

        Raises:
            InputError: it is missing or not what its index says.
        """
        try:
            data = (root / self.source).read_bytes() if self.data is None else self.data
        except FileNotFoundError:
            raise InputError(f"{self.source}: is missing; run sample_images again") from None
        if hashlib.sha256(data).hexdigest() != self.digest:
            raise InputError(
                f"{self.source}: is damaged, its SHA-256 is not that of data/samples/index.parquet;"
                " remove data/samples and run sample_images again: it takes the whole shards from "
                "the work store. If the damage comes back, DVC's cache holds it too: "
                "`python -m tasks.lineage check` says what to remove"
            )
        return data


class PromptClasses:
    """The classes that each prompt names, in some bytes a prompt.

    Args:
        path: ``data/prompts.parquet``.

    Raises:
        InputError: an id stands there twice.
    """

    def __init__(self, path: Path) -> None:
        combinations: dict[tuple[str, ...], int] = {}
        keys, codes = array("Q"), array("i")
        for row in records.stream_rows(path, ["prompt_id", "classes.list.element.name"]):
            names = tuple(one["name"] for one in row["classes"])
            keys.append(_key(row["prompt_id"]))
            codes.append(combinations.setdefault(names, len(combinations)))
        self._combinations = list(combinations)
        unordered = np.asarray(keys, np.uint64)
        order = np.argsort(unordered)
        self._keys = unordered[order]
        self._codes = np.asarray(codes, np.int32)[order]
        twice = np.flatnonzero(self._keys[1:] == self._keys[:-1])
        if len(twice):
            raise InputError(
                f"data/prompts.parquet: prompt_id {int(self._keys[twice[0]]):016x} stands there "
                "twice; run expand_prompts again"
            )

    def of(self, prompt_id: str) -> tuple[str, ...]:
        """The class of each phrase of a prompt.

        Raises:
            InputError: there is none with this id.
        """
        key = np.uint64(_key(prompt_id))
        at = int(np.searchsorted(self._keys, key))
        if at == len(self._keys) or self._keys[at] != key:
            raise InputError(
                f"data/samples: no prompt has the id {prompt_id}; data/prompts.parquet is of "
                "another run, run sample_images again"
            )
        return self._combinations[int(self._codes[at])]


def _key(prompt_id: str) -> int:
    """The 16 hex digits of an id (`tasks.records.content_id`) as a number of 8 bytes."""
    return int(prompt_id, 16)


@cache
def code_digest() -> str:
    """Digest of the code and the libraries that make masks, as this process found them first."""
    here = Path(__file__).parent
    versions = {name: metadata.version(name) for name in LIBRARIES}
    return combine(
        {name: records.content_id((here / name).read_text()) for name in CODE} | versions
    )


def check_worker(job: MaskJob) -> None:
    """Whether this machine has the code and the libraries that the job is planned with.

    Raises:
        InputError: it does not.
    """
    here = code_digest()
    if here != job.code:
        versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
        raise InputError(
            f"extract_masks: the code of tasks/ or the libraries of this machine, "
            f"{socket.gethostname()}, are not what the run is planned with: digest {here[:16]} "
            f"({versions}) instead of {job.code[:16]}; bring it to the commit of the machine that "
            "plans, install the versions of requirements.lock and start its worker anew"
        )


def shard_jobs(params: Params, root: Path = Path()) -> Iterator[MaskJob]:
    """All shards of the run that is configured, in the order of its index."""
    classes = PromptClasses(root / "data/prompts.parquet")
    values = params.expand_prompts.label_values
    index = records.stream_rows(root / "data/samples/index.parquet")
    for shard, members in groupby(index, key=lambda row: row["shard"]):
        rows = list(members)
        yield MaskJob(
            Path(shard).name,
            rows,
            [classes.of(row["prompt_id"]) for row in rows],
            params.extract_masks,
            values,
            shard,
            rows[0]["shard_digest"],
            code_digest(),
        )
