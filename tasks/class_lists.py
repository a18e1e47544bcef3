"""Class lists in files: a wnid a line, or a table with a column ``wnid``; ImageNet-S has both."""

import csv
import re
from collections import Counter
from pathlib import Path

CATEGORIES = "https://raw.githubusercontent.com/LUSSeg/ImageNet-S/main/data/categories"
NAME_COLUMNS = ("name", "imagenet_name")


def read_class_list(path: Path) -> list[dict[str, str]]:
    """The classes of a file in label order: the first has label value 1.

    A plain list names its classes by their wnids. A tab-separated table has a header with ``wnid``
    and ``name`` (or ``imagenet_name``); a name that stands twice takes its wnid along.

    Returns:
        ``{"name", "sense"}`` of each class; the sense is a WordNet 3.0 synset such as n02958343.

    Raises:
        ValueError: the file is missing, is no text, holds no class or one twice, or a line of it
            is no wnid.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ValueError(
            f"{path}: no such file; the lists of ImageNet-S (50, 300, 919 classes) are in "
            "https://github.com/LUSSeg/ImageNet-S under data/categories (read its terms there): "
            f"`curl -fL --create-dirs -o {path} {CATEGORIES}/{path.name}`, or give another path"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as text: {error}; give a list of wnids") from None
    lines = [line for line in lines if line.strip() and not line.startswith("#")]
    rows = (
        _table(path, lines)
        if lines and "\t" in lines[0]
        else [(line.strip(),) * 2 for line in lines]
    )
    if not rows:
        raise ValueError(f"{path}: holds no class; give a list of wnids")
    for sense, _ in rows:
        if not re.fullmatch(r"n\d{8}", sense):
            raise ValueError(f"{path}: {sense!r} is no wnid; one looks like n02958343")
    twice = [sense for sense, count in Counter(sense for sense, _ in rows).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: each class stands once; twice: {', '.join(twice)}")
    names = Counter(name for _, name in rows)
    return [
        {"name": name if names[name] == 1 else f"{name} ({sense})", "sense": sense}
        for sense, name in rows
    ]


def _table(path: Path, lines: list[str]) -> list[tuple[str, str]]:
    reader = csv.DictReader(lines, delimiter="\t")
    header = reader.fieldnames or []
    column = next((name for name in NAME_COLUMNS if name in header), None)
    if "wnid" not in header or column is None:
        raise ValueError(
            f"{path}: a table needs the columns wnid and name, not {', '.join(header)}; "
            "write them into its first line"
        )
    return [((row["wnid"] or "").strip(), (row[column] or "").strip()) for row in reader]
