"""Stage ``preflight``: everything that can be checked before anything is computed.

Looks at parameters, base model, adapter, reference images, labelled sets and machine, and lists all
that is wrong at once. Its outputs are the same whenever all is well, and are left alone when it is
not. What takes long (decoding images, counting tokens, asking for a GPU) is done again only when
the content of what it looks at has changed.
"""

import json
import logging
from pathlib import Path
from typing import Any

import cyclopts

from tasks import records
from tasks.base_models import model_files
from tasks.digests import CACHE_PATH, DigestCache, combine, file_digests
from tasks.durable import new_file
from tasks.entry import run_stage
from tasks.finished_work import remember_plan
from tasks.image_text import image_text_files
from tasks.input_checks import SET_KEYS, check_base, find_inputs, look_closer, set_path
from tasks.labelled_sets import STORYBOOK, Pair, inside_storybook
from tasks.machine import gpu_facts
from tasks.params import InputError, Params
from tasks.training_checks import initial_record, pretrained_record

log = logging.getLogger(__name__)

PASSED = Path(".maskloom/preflight.json")
"""Remembers the content for which the slow checks last found nothing wrong."""


def set_record(params: Params, key: str, pairs: list[Pair], cache: DigestCache, root: Path) -> Any:
    """What the graph needs to know of a labelled set: the digest of one from outside."""
    value = set_path(params, key)
    if value == "none":
        return {"source": "none"}
    if inside_storybook(value, root) is not None:
        return {"source": STORYBOOK.as_posix()}
    folder = root / value
    files = [path for pair in pairs for path in (pair.image, pair.label)]
    return {
        "source": "outside",
        "images": len(pairs),
        "digest": combine(file_digests(folder, files, cache)),
    }


def texts_record(params: Params, cache: DigestCache, root: Path) -> dict[str, str]:
    """The digests of the files that prompts are made from; what is no file stands as it is."""
    section = params.expand_prompts
    spec = section.lexicon.removeprefix("wordnet:")
    files = {"classes_file": section.classes_file, "captions": section.captions, "lexicon": spec}
    return {
        key: cache.file(root / value) if (root / value).is_file() else value
        for key, value in files.items()
    }


def similarity_record(folder: Path | None, cache: DigestCache) -> dict[str, str]:
    """What the graph needs to know of the model that compares images with texts."""
    if folder is None:
        return {"source": "none"}
    files = file_digests(folder, image_text_files(folder), cache)
    return {"source": "outside", "digest": combine(files)}


def run(params: Params, root: Path = Path()) -> None:
    """Check everything, then write ``metrics/preflight.json`` and ``data/inputs``.

    Raises:
        InputError: something is wrong; all that was found is listed, and no file was touched.
    """
    found = find_inputs(params, root)
    inputs: dict[str, Any] = {}
    fingerprint = None
    if found.model and not found.problems:
        cache = DigestCache(root / CACHE_PATH)
        files = file_digests(found.model.folder, model_files(found.model), cache)
        inputs["model"] = {
            "pipeline": found.model.pipeline,
            "digest": combine(files),
            "files": files,
        }
        for name, key in SET_KEYS.items():
            inputs[name] = set_record(params, key, found.sets[name], cache, root)
        inputs["texts"] = texts_record(params, cache, root)
        inputs["init_from"] = initial_record(found.start, cache)
        inputs["pretrained"] = pretrained_record(found.pretrained, cache)
        inputs["similarity"] = similarity_record(found.compared, cache)
        if found.reference:
            inputs["reference"] = found.reference.record(cache, root)
            check_base(found, inputs["model"]["digest"])
        here = Path(__file__).parent
        files_here = sorted([*here.rglob("*.py"), *here.glob("lexicons/*.yaml")])
        code = combine(file_digests(here, files_here, cache))
        configs = sorted((root / "mmseg_configs").rglob("*.py"))
        networks = combine(file_digests(root, configs, cache))
        cache.save()
        fingerprint = records.content_id(code, networks, params.model_dump(), inputs, gpu_facts())
    if fingerprint is None or _passed(root / PASSED) != fingerprint:
        look_closer(found)
    if found.problems:
        raise InputError("\n".join(message for _, message in found.problems))
    if found.reference and found.model:
        sampling = params.sample_images
        found.reference.tell_memory(sampling.height, sampling.width, found.model.vae_factor)
    remember_plan(params, root)
    with new_file(root / PASSED) as file:
        file.write(json.dumps(fingerprint).encode())
    for name, record in inputs.items():
        records.write_json(root / f"data/inputs/{name}.json", record)
    records.write_json(root / "metrics/preflight.json", {"ok": True})
    log.info("all is well")


def _passed(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def main() -> None:
    """Check parameters, model, labelled sets and machine before anything is computed."""
    run_stage(run)


if __name__ == "__main__":
    cyclopts.run(main)
