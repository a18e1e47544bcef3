"""Stage ``render_storybook``: the embedded world's images with exact labels, as loose folders.

These stand in for a user's real labelled images: the reference is trained on ``train``, the
measurement uses ``test``. No synthetic sample and no base model ever sees them.
"""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import cyclopts
import numpy as np
import pyarrow as pa

from storybook import page, street
from storybook.vocabulary import CLASS_NAMES, classes_shown
from tasks import records
from tasks.entry import run_stage
from tasks.label_maps import encode_image, encode_label
from tasks.labelled_sets import STORYBOOK, STORYBOOK_SETS
from tasks.params import Params
from tasks.progress import progress

MANIFEST = pa.schema(
    [
        ("path", pa.string()),
        ("set", pa.string()),
        ("seed", pa.list_(pa.int64())),
        ("caption", pa.string()),
        ("digest", pa.string()),
    ]
)
"""One row an image; ``seed`` seeds the generator of its scene, ``digest`` is of image and label."""

DOMAINS = {"page": 0, "street": 1}

Rendered = tuple[np.ndarray, np.ndarray, str]


def render_page(rng: np.random.Generator) -> Rendered:
    """Image, label and caption of a random page."""
    scene = page.sample_scene(rng)
    return *page.render(scene), page.caption(scene)


def render_street(rng: np.random.Generator) -> Rendered:
    """Image, label and caption of a random street."""
    image, label = street.render(street.sample_street(rng))
    return image, label, street.caption(label)


RENDERERS: dict[str, Callable[[np.random.Generator], Rendered]] = {
    "page": render_page,
    "street": render_street,
}
"""Domain -> what draws it."""


def scene_seed(domain: str, part: str, seed: int, index: int) -> list[int]:
    """The seed of one image; no two domains, sets or indices share one, nor the corpus's."""
    return [7_000_000 + seed, DOMAINS[domain], STORYBOOK_SETS.index(part), index]


def run(params: Params, root: Path = Path()) -> None:
    """Write ``data/storybook``: train, val and test with images, labels, classes and a manifest.

    Each set's ``captions.json`` names the classes that an image shows, by file name, for a training
    that may know what is in an image but not where.
    """
    section = params.render_storybook
    out = root / STORYBOOK
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    rows = []
    if section.domain != "none":
        render = RENDERERS[section.domain]
        records.write_json(out / "classes.json", CLASS_NAMES[section.domain])
        counts = {"train": section.train, "val": section.val, "test": section.test}
        with progress("rendering", sum(counts.values()), "images") as advance:
            for part, count in counts.items():
                for folder in ("images", "labels"):
                    (out / part / folder).mkdir(parents=True)
                captions = {}
                for index in range(count):
                    seed = scene_seed(section.domain, part, section.seed, index)
                    image, label, caption = render(np.random.default_rng(seed))
                    captions[f"{index:05d}.png"] = classes_shown(label, section.domain)
                    pixels, values = encode_image(image), encode_label(label)
                    (out / part / "images" / f"{index:05d}.png").write_bytes(pixels)
                    (out / part / "labels" / f"{index:05d}.png").write_bytes(values)
                    rows.append(
                        {
                            "path": f"{part}/images/{index:05d}.png",
                            "set": part,
                            "seed": seed,
                            "caption": caption,
                            "digest": hashlib.sha256(pixels + values).hexdigest(),
                        }
                    )
                    advance(1)
                records.write_json(out / part / "captions.json", captions)
    records.write_table(out / "manifest.parquet", rows, MANIFEST)


def main() -> None:
    """Render the embedded world's labelled image sets: data/storybook."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
