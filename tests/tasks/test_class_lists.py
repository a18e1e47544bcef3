"""Class lists from files: ImageNet-S's two forms, and what cannot be used."""

import csv
from pathlib import Path

import pytest

from tasks.class_lists import read_class_list

LISTS = Path(__file__).parents[2] / "../shared/data/lists"


def test_a_list_of_wnids(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("# three\nn01443537\n\nn02012849\nn03126707")
    assert read_class_list(tmp_path / "list.txt") == [
        {"name": wnid, "sense": wnid} for wnid in ("n01443537", "n02012849", "n03126707")
    ]


def test_a_table_with_names_that_stand_twice(tmp_path: Path) -> None:
    (tmp_path / "list.tsv").write_text(
        "index\twnid\tname\n1\tn01443537\tgoldfish\n2\tn02012849\tcrane\n3\tn03126707\tcrane\n"
    )
    assert [item["name"] for item in read_class_list(tmp_path / "list.tsv")] == [
        "goldfish",
        "crane (n02012849)",
        "crane (n03126707)",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no class"),
        (b"# nothing\n\n", "holds no class"),
        (b"n01443537\ncar\n", "'car' is no wnid; one looks like n02958343"),
        (b"n01443537\nn01443537\n", "each class stands once; twice: n01443537"),
        (b"id\tlabel\n1\tcar\n", "needs the columns wnid and name, not id, label"),
        (b"\xff\xfe\x00\x01", "cannot be read as text"),
    ],
)
def test_what_is_no_class_list_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "list").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_class_list(tmp_path / "list")


def test_a_missing_list_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file; the lists of ImageNet-S"):
        read_class_list(tmp_path / "none.txt")


@pytest.mark.parametrize("count", [50, 300, 919])
def test_both_forms_of_imagenet_s_hold_the_same_classes(count: int) -> None:
    if not LISTS.is_dir():
        pytest.skip("needs the lists of ImageNet-S in ../shared/data/lists")
    plain = read_class_list(LISTS / f"ImageNetS_categories_im{count}.txt")
    table = read_class_list(LISTS / f"imagenet_s_{count}.tsv")
    assert len(plain) == len(table) == count
    assert [item["sense"] for item in plain] == [item["sense"] for item in table]
    with (LISTS / f"imagenet_s_{count}.tsv").open(encoding="utf-8", newline="") as file:
        names = [row["imagenet_name"] for row in csv.DictReader(file, delimiter="\t")]
    assert [item["name"].split(" (")[0] for item in table] == names
