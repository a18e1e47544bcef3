"""Datasets for MMSegmentation: samples in shards, found by their index, and folders of files.

File backends belong to a process; that of the shards is registered by the import below, so that it
is there in every worker process that unpickles a dataset.
"""

import errno
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mmseg.datasets import BaseSegDataset
from mmseg.registry import DATASETS
from torch import Tensor

import mmseg_configs.reliability.file_backend  # noqa: F401  registers shard://
from mmseg_configs.reliability.faults import SampleError, sample_name
from tasks.label_maps import ignore_value, label_dtype, palette
from tasks.labelled_sets import list_pairs
from tasks.records import read_rows
from tasks.shards import parse_uri


def metainfo(classes: Sequence[str]) -> dict[str, Any]:
    """Class names by label value, with the colours in which label maps are written."""
    return {"classes": tuple(classes), "palette": [list(rgb) for rgb in palette(len(classes))]}


class _ListedDataset(BaseSegDataset):
    """Lists its samples itself; label values mean what the class list says."""

    def prepare_data(self, idx: int) -> Any:
        """Load a sample.

        Raises:
            SampleError: a file of it is missing, cut short or no picture, or a label is no class.
        """
        try:
            loaded = super().prepare_data(idx)
        except (EOFError, OSError, AssertionError, SyntaxError, ValueError) as error:
            if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
                raise  # the disk's fault, not the sample's
            sample = self.get_data_info(idx)
            files = [value for key, value in sample.items() if key.endswith("_path")]
            raise SampleError(
                f"sample {sample_name(sample)} cannot be read: {error}; run the stages that made "
                f"the dataset again, or mend the file: {', '.join(files)}"
            ) from None
        if "data_samples" in loaded:  # packed, whichever packer it is
            self._check_labels(idx, loaded["data_samples"].gt_sem_seg.data)
        return loaded

    def _check_labels(self, idx: int, label: Tensor) -> None:
        """Hold the labels to the classes; what no class has would end in a loss without a name."""
        count = len(self.metainfo["classes"])
        if int(label.max()) < count:
            return
        known = {*range(count), ignore_value(label_dtype(count))}
        if wrong := sorted(set(label.unique().tolist()) - known):
            sample = self.get_data_info(idx)
            raise SampleError(
                f"{sample['seg_map_path']}: sample {sample_name(sample)} has the label {wrong[0]}, "
                f"and there are {count} classes, 0 to {count - 1}; run the stages that made the "
                "dataset again, or mend the file"
            )

    def _sample(self, image: str, label: str, **more: str) -> dict[str, Any]:
        """What the loading transforms expect of a sample."""
        return {
            "img_path": image,
            "seg_map_path": label,
            "label_map": None,
            "reduce_zero_label": False,
            "seg_fields": [],
            **more,
        }


@DATASETS.register_module()
class ShardDataset(_ListedDataset):
    """The kept samples of one split of ``data/dataset``, read from the shards by their address.

    Args:
        folder: holds ``index.parquet`` (`tasks.records.DATASET`) and ``classes.json``.
        split: ``train`` or ``val``.
        root: the folder that the shards' paths start from.
        kwargs: those of `BaseSegDataset`, such as ``pipeline``.
    """

    def __init__(self, folder: str, split: str, root: str = ".", **kwargs: Any) -> None:
        self.folder, self.split, self.root = Path(folder), split, Path(root)
        classes = json.loads((self.folder / "classes.json").read_text(encoding="utf-8"))
        super().__init__(metainfo=metainfo(classes), **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """One entry per sample, in the index's order."""
        return [
            self._sample(
                self._address(row["image"]),
                self._address(row["label"]),
                sample_id=row["sample_id"],
                **{
                    f"{kind}_path": self._address(row[kind])
                    for kind in ("reliability", "uncertainty")
                    if row.get(kind)
                },
            )
            for row in read_rows(self.folder / "index.parquet")
            if row["kept"] and row["split"] == self.split
        ]

    def _address(self, uri: str) -> str:
        member = parse_uri(uri)
        return replace(member, path=str(self.root / member.path)).uri


@DATASETS.register_module()
class FolderDataset(_ListedDataset):
    """A labelled set: ``images/`` and ``labels/`` of one folder, joined by file name.

    Args:
        folder: see `tasks.labelled_sets.list_pairs`, which also says what it raises.
        classes: class names by label value.
        kwargs: those of `BaseSegDataset`, such as ``pipeline``.
    """

    def __init__(self, folder: str, classes: Sequence[str], **kwargs: Any) -> None:
        self.folder = Path(folder)
        super().__init__(metainfo=metainfo(classes), **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """One entry per image, sorted by name."""
        return [self._sample(str(pair.image), str(pair.label)) for pair in list_pairs(self.folder)]
