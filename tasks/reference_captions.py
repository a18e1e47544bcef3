"""Captions of reference images: a template, a text file beside each image, or one JSON file.

Captions come from sentences or from image-level lists of classes; no pixel label is read. Imports
no torch.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from tasks.labelled_sets import some
from tasks.params import AdaptLora, InputError
from tasks.records import content_seed
from tasks.reference_images import ReferenceImage, base_folder
from tasks.templates import Template, fill, parse, placed


def caption_images(
    section: AdaptLora,
    images: Sequence[ReferenceImage],
    words: Mapping[str, str],
    places: Mapping[str, str],
    root: Path = Path(),
) -> dict[str, str]:
    """The caption of each image, by its name.

    Args:
        section: says where captions come from.
        images: all that were found; those beyond ``max_images`` need no caption.
        words: class -> what it is called in a caption; lists may name these classes.
        places: class -> how it is said behind the others, see ``expand_prompts.places``.
        root: where relative paths start from.

    Raises:
        InputError: captions and images do not match, a list names an unknown class, or a file
            cannot be read; all that is wrong is listed.
    """
    used = images[: section.max_images]
    if section.captions == "none":
        return dict.fromkeys((image.name for image in used), section.template)
    if section.captions == "sidecar":
        return _sidecars(images, used)
    return _from_json(section, images, used, words, places, root)


def list_caption(
    template: str, classes: Sequence[str], words: Mapping[str, str], places: Mapping[str, str]
) -> str:
    """Classes as a sentence, in the words of prompts: "a photo of a car, a tree and the sky".

    An image that shows none of the classes has the empty caption, which says nothing.
    """
    if not classes:
        return ""
    own = {name: parse(place) for name, place in places.items()}
    return _sentence(template, [words[name] for name in classes], placed(classes, own))


def prior_prompts(section: AdaptLora, words: Sequence[str]) -> list[str]:
    """The prompts of the base model's own images, class after class; none where none are wanted.

    Args:
        section: how many, and their template.
        words: what the classes are called.
    """
    if not section.prior_rows:
        return []
    count = section.prior_images
    return [_sentence(section.prior_template, [words[n % len(words)]]) for n in range(count)]


def length_problems(
    key: str, texts: Iterable[str], tokenizers: Sequence[Any], longest: int
) -> list[str]:
    """What a text encoder would cut off.

    Args:
        key: where the texts come from.
        texts: captions, or prompts.
        tokenizers: one for each text encoder.
        longest: tokens that they read, start and end included.
    """
    long = []
    for text in dict.fromkeys(texts):
        count = max(len(one(text, truncation=False, verbose=False).input_ids) for one in tokenizers)
        if count > longest:
            long.append(f'"{text}" ({count} tokens)')
    if not long:
        return []
    return [
        f"{key}: the text encoder reads {longest} tokens, start and end included; shorten "
        f"{some(long)}"
    ]


def _sentence(
    template: str, words: Sequence[str], places: Mapping[int, Template] | None = None
) -> str:
    """The template with the words in its place, as prompts have them; each with its article."""
    if not parse(template).determiner:
        template = template.replace("{}", "a {}")
    text, _ = fill(parse(template), words, places or {})
    return text


def _sidecars(images: Sequence[ReferenceImage], used: Sequence[ReferenceImage]) -> dict[str, str]:
    captions, missing, faults = {}, [], []
    for image in used:
        try:
            text = image.path.with_suffix(".txt").read_text(encoding="utf-8")
        except FileNotFoundError:
            text = ""
        except (OSError, ValueError) as error:
            faults.append(f"{image.path.with_suffix('.txt')} ({error})")
            continue
        captions[image.name] = " ".join(text.split())
        if not captions[image.name]:
            missing.append(image.name)
    stems = {image.path.with_suffix("") for image in images}
    folders = {image.path.parent for image in images}
    texts = [path for folder in sorted(folders) for path in sorted(folder.glob("[!.]*.txt"))]
    orphans = [str(path) for path in texts if path.with_suffix("") not in stems]
    problems = []
    if faults:
        problems.append(f"adapt_lora.captions: cannot be read as UTF-8 text: {some(faults)}")
    if missing:
        problems.append(
            f"adapt_lora.captions: {len(missing)} of {len(used)} images have no caption: "
            f"{some(missing)}; put <stem>.txt with a sentence beside each, or take captions: none"
        )
    if orphans:
        problems.append(
            f"adapt_lora.captions: {len(orphans)} text files have no image beside them: "
            f"{some(orphans)}; add the images, or move the files elsewhere"
        )
    if problems:
        raise InputError("\n".join(problems))
    return captions


def _from_json(
    section: AdaptLora,
    images: Sequence[ReferenceImage],
    used: Sequence[ReferenceImage],
    words: Mapping[str, str],
    places: Mapping[str, str],
    root: Path,
) -> dict[str, str]:
    file = root / section.captions
    entries = _read_entries(file)
    where = f"adapt_lora.captions: {file}"
    base = base_folder(section.images, root)
    names = {image.name for image in images}
    shared = Counter(image.path.name for image in images)
    problems = []
    orphans = [
        key for key in entries if key not in names | shared.keys() and not (base / key).is_file()
    ]
    if orphans:
        problems.append(
            f"{where}: {len(orphans)} captions have no image in {base}: {some(orphans)}; name each "
            "image by its file name or its path below that folder"
        )
    captions: dict[str, str] = {}
    missing, unclear, unknown, unfilled = [], [], [], False
    for image in used:
        by_path = image.name in entries
        if not by_path and image.path.name not in entries:
            missing.append(image.name)
            continue
        if not by_path and shared[image.path.name] > 1:
            unclear.append(image.name)
            continue
        entry = entries[image.name if by_path else image.path.name]
        if isinstance(entry, str):
            captions[image.name] = " ".join(entry.split())
            continue
        if "{}" not in section.template:
            unfilled = True
            continue
        strange = [name for name in entry if name not in words]
        unknown += [f"{name!r} ({image.name})" for name in strange]
        if not strange:
            # Prompts name classes in any order, and so should what the adapter learns from.
            mixed = list(entry)
            Random(content_seed("caption", image.name)).shuffle(mixed)
            captions[image.name] = list_caption(section.template, mixed, words, places)
    if missing:
        problems.append(
            f"{where}: {len(missing)} of {len(used)} images have no caption: {some(missing)}; add "
            "them, or lower adapt_lora.max_images"
        )
    if unclear:
        problems.append(
            f"{where}: several images have one file name: {some(unclear)}; name each by its path "
            f"below {base}"
        )
    if unknown:
        problems.append(
            f"{where}: lists classes that are not in expand_prompts.classes: {some(unknown)}; "
            f"there are {some(words)}"
        )
    if unfilled:
        problems.append(
            f"adapt_lora.template: {file} lists classes, and {section.template!r} has no {{}} for "
            "them; add one"
        )
    if problems:
        raise InputError("\n".join(problems))
    return captions


def _read_entries(file: Path) -> dict[str, Any]:
    """The JSON object: a sentence or a list of names for each key.

    Raises:
        InputError: it is something else.
    """
    where = f"adapt_lora.captions: {file}"
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{where}: no such file; give none, sidecar or a JSON file of captions"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{where}: cannot be read as JSON: {error}") from None
    if not isinstance(entries, dict):
        raise InputError(f"{where}: must be an object, {{file name: sentence or list of classes}}")
    for key, entry in entries.items():
        listed = isinstance(entry, list) and all(isinstance(name, str) for name in entry)
        if not listed and not (isinstance(entry, str) and entry.strip()):
            raise InputError(
                f"{where}: {key!r}: must be a sentence or a list of class names, not {entry!r}"
            )
    return entries
