"""A place that cannot be written is refused by each tool before it computes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tasks import export, predict
from tasks.export_network import export_network
from tasks.output_paths import check_writable
from tasks.params import InputError


@pytest.mark.parametrize(
    "check",
    [
        check_writable,
        predict.check_out,
        lambda place: export.check_out(place, overwrite=False),
        lambda place: export_network(place.with_suffix(".pt")),
        lambda place: export_network(place.with_suffix(".pth")),
    ],
    ids=["check_writable", "predict", "export", "torchscript", "checkpoint"],
)
def test_below_a_file(tmp_path: Path, check: Callable[[Path], None]) -> None:
    (tmp_path / "README.md").touch()
    with pytest.raises(InputError, match=r"README\.md is no folder; choose a place in a folder"):
        check(tmp_path / "README.md/deep/x")


def test_a_folder_that_takes_no_file() -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("no /proc here")
    with pytest.raises(InputError, match=r"--out: /proc/x cannot be written: /proc takes no file"):
        check_writable(Path("/proc/x"), "--out")


def test_nothing_is_left(tmp_path: Path) -> None:
    check_writable(tmp_path / "new/deeper/out")
    assert not list(tmp_path.iterdir())
