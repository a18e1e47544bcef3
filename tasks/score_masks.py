"""Stage ``score_masks``: all that can be said of a sample, before anything is decided.

Every sample gets a row of scores (`tasks.records.SCORES`), a damaged one too. `tasks.filter_masks`
decides from these rows alone, so that another threshold needs no image.
"""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cyclopts
import numpy as np
import pyarrow as pa
from pyarrow import compute as pc
from pyarrow import parquet

from tasks import records
from tasks.english import with_article
from tasks.entry import run_stage
from tasks.image_text import ImageText, find_image_text
from tasks.in_use import write_in_use
from tasks.label_maps import decode
from tasks.mask_scores import image_scores, luma, shape_scores
from tasks.near_duplicates import NONE, nearest_earlier, perceptual_hash, shrink
from tasks.params import Params
from tasks.params import Similarity as SimilaritySection
from tasks.progress import progress
from tasks.shards import Member

if TYPE_CHECKING:
    from tasks.label_quality import Quality  # seconds to import, and seldom needed

log = logging.getLogger(__name__)

BATCH = 64
"""Samples scored at a time."""
Row = dict[str, Any]


class Seen(NamedTuple):
    """What a look at a sample gives: its row of scores, its small picture and its image.

    The two last are None where the sample cannot be read.
    """

    row: Row
    small: np.ndarray | None
    image: np.ndarray | None


def look(sample: Row, mask: Row, values: dict[str, int], root: Path = Path()) -> Seen:
    """Read a sample's files and score what is in them.

    Args:
        sample: its row of ``data/samples/index.parquet``.
        mask: its row of ``data/masks/index.parquet``.
        values: class name -> label value.
    """
    row = {"sample_id": sample["sample_id"], "entropy": mask["entropy"], "finite": False}
    try:
        image, label = _read(sample, "image", root), _read(mask, "label", root)
    except (OSError, EOFError, SyntaxError, ValueError) as error:  # Pillow's, of damaged files
        log.warning("sample %s cannot be read: %s", sample["sample_id"], error)
        return Seen(row | {"classes": mask["classes"]}, None, None)
    grey = luma(image)
    classes = [each | shape_scores(label == values[each["name"]]) for each in mask["classes"]]
    row |= image_scores(grey) | {"finite": is_finite(mask), "classes": classes}
    return Seen(row, shrink(grey), image)


def is_finite(mask: Row) -> bool:
    """Whether the scores of a mask are numbers: a NaN in the attention comes through to them."""
    found = [mask["entropy"], *(value for each in mask["classes"] for value in each.values())]
    return all(np.isfinite(value) for value in found if isinstance(value, float))


def _read(row: Row, kind: str, root: Path) -> np.ndarray:
    member = Member(row["shard"], row[f"{kind}_offset"], row[f"{kind}_size"])
    return decode(member.below(root).read())


def add_hashes(seen: Sequence[Seen]) -> None:
    """Set ``hash`` in the rows of the samples that could be read."""
    there = [(one.row, one.small) for one in seen if one.small is not None]
    if there:
        hashes = perceptual_hash(np.stack([small for _, small in there]))
        for (row, _), found in zip(there, hashes, strict=True):
            row["hash"] = int(found)


class Similarity:
    """Compares images with their prompts and with the names of the classes.

    Args:
        names: of the classes; each is embedded once.
    """

    def __init__(self, section: SimilaritySection, names: Sequence[str], root: Path) -> None:
        self.model = ImageText(find_image_text(section.model, root), section.device)
        self.batch_size = section.batch_size
        parts = records.batched(names, self.batch_size)
        texts = (self.model.texts([with_article(name) for name in part]) for part in parts)
        embedded = np.concatenate(list(texts))
        self.of_class = dict(zip(names, embedded, strict=True))

    def add(self, seen: Sequence[Seen], texts: Sequence[str]) -> None:
        """Set ``similarity`` in the rows, and in their classes, of what could be read."""
        there = [
            (one.row, one.image, text)
            for one, text in zip(seen, texts, strict=True)
            if one.image is not None
        ]
        for part in records.batched(there, self.batch_size):
            images = self.model.images([image for _, image, _ in part])
            said = self.model.texts([text for _, _, text in part])
            for (row, _, _), image, text in zip(part, images, said, strict=True):
                row["similarity"] = float(image @ text)
                for each in row["classes"]:
                    each["similarity"] = float(image @ self.of_class[each["name"]])


def find_duplicates(table: pa.Table, most: int) -> dict[str, tuple[str, int]]:
    """sample_id -> the nearest earlier sample and the bits between them, where there is one.

    Only samples of the same first class are compared: a picture of something else with the same
    layout is no duplicate.

    Args:
        table: ``sample_id``, ``hash`` and ``classes`` of `tasks.records.SCORES`.
    """
    ids = table["sample_id"].to_pylist()
    first = pc.struct_field(pc.list_element(table["classes"], 0), "name").to_pylist()
    groups: dict[str, list[int]] = {}
    for at, readable in enumerate(table["hash"].is_valid().to_pylist()):
        if readable:
            groups.setdefault(first[at], []).append(at)
    hashes = table["hash"].fill_null(0).to_numpy()
    found = {}
    for rows in groups.values():
        nearest, bits = nearest_earlier(hashes[rows], most)
        for at, number, distance in zip(rows, nearest, bits, strict=True):
            if number != NONE:
                found[ids[at]] = (ids[rows[number]], int(distance))
    return found


def add_quality(row: Row, quality: "Quality", values: dict[str, int]) -> None:
    """Set ``quality`` in a row and its classes."""
    row["quality"] = quality.whole
    for each in row["classes"]:
        each["quality"] = quality.by_value.get(values[each["name"]])


def summarise(table: pa.Table) -> Row:
    """Counts and means over all samples; a mean is None where nobody asked for the score."""
    return {
        "samples": len(table),
        "not_finite": len(table) - pc.sum(table["finite"]).as_py(),
        "near_duplicates": pc.sum(pc.not_equal(table["duplicate_of"], "")).as_py(),
        **{
            f"mean_{name}": None if mean is None else round(mean, 4)
            for name in ("contrast", "entropy", "similarity", "quality")
            for mean in [_mean(table[name])]
        },
    }


def _mean(column: pa.ChunkedArray) -> float | None:
    found: float | None = pc.mean(column.filter(pc.is_finite(column))).as_py()
    return found


def run(params: Params, root: Path = Path()) -> None:
    """Write ``data/scores`` and ``metrics/scores.json``.

    The run stays in columns; a batch of it at a time becomes rows.

    Raises:
        InputError: a manifest lacks a sample, the model of the similarity cannot be loaded, or see
            `tasks.label_quality.cross_validate`.
    """
    section, values = params.score_masks, params.expand_prompts.label_values
    samples = parquet.read_table(root / "data/samples/index.parquet")
    masks = parquet.read_table(root / "data/masks/index.parquet")
    masks = records.join(masks, "sample_id", samples["sample_id"], "data/masks")
    prompts = parquet.read_table(root / "data/prompts.parquet", columns=["prompt_id", "text"])
    prompts = records.join(prompts, "prompt_id", samples["prompt_id"], "data/prompts.parquet")
    samples = samples.append_column("text", prompts["text"])
    names = params.expand_prompts.class_names
    similarity = None
    if section.similarity.model != "none":
        similarity = Similarity(section.similarity, names, root)

    parts = []  # as columns: a hundredth of what the rows would take
    with ThreadPoolExecutor() as pool, progress("scores", len(samples), "images") as advance:
        for first in range(0, len(samples), BATCH):
            rows, found = (table.slice(first, BATCH).to_pylist() for table in (samples, masks))
            seen = list(pool.map(look, rows, found, repeat(values), repeat(root)))
            add_hashes(seen)
            if similarity:
                similarity.add(seen, [row["text"] for row in rows])
            parts.append(pa.Table.from_pylist([one.row for one in seen], schema=records.SCORES))
            advance(len(rows))
    duplicates = find_duplicates(pa.concat_tables(parts), section.duplicate_distance)
    qualities: dict[str, Quality] = {}
    if not section.cross_validation.folds:
        write_in_use("training", "score_masks", (), root)
    if section.cross_validation.folds:
        from tasks.label_quality import Labelled, cross_validate  # seconds to import

        labelled = [
            Labelled(
                sample["sample_id"],
                sample["text"],
                Member(sample["shard"], sample["image_offset"], sample["image_size"]),
                *(
                    Member(mask["shard"], mask[f"{kind}_offset"], mask[f"{kind}_size"])
                    for kind in ("label", "reliability")
                ),
            )
            for number, part in enumerate(parts)
            for sample, mask, finite in zip(
                *(table.slice(number * BATCH, BATCH).to_pylist() for table in (samples, masks)),
                part["finite"].to_pylist(),
                strict=True,
            )
            if finite
        ]
        qualities = dict(cross_validate(labelled, params, root))

    def finished() -> Iterator[Row]:
        for part in parts:
            for row in part.to_pylist():
                name = row["sample_id"]
                of, distance = duplicates.get(name, ("", None))
                row |= {"duplicate_of": of, "duplicate_distance": distance}
                if name in qualities:
                    add_quality(row, qualities[name], values)
                yield row

    path = root / "data/scores/index.parquet"
    records.write_rows(path, finished(), records.SCORES)
    records.write_json(root / "metrics/scores.json", summarise(parquet.read_table(path)))


def main() -> None:
    """Score images and masks, deciding nothing: data/scores."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
