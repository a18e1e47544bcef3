import logging
from pathlib import Path

import pytest

from tasks.json_lines import add_line, read_lines


def test_what_is_added_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "new/log.ndjson"
    assert list(read_lines(path, {"key"})) == []
    add_line(path, {"key": 1, "name": "ä"})
    add_line(path, {"key": 2})
    assert path.read_text(encoding="utf-8") == '{"key": 1, "name": "ä"}\n{"key": 2}\n'
    assert list(read_lines(path, {"key"})) == [{"key": 1, "name": "ä"}, {"key": 2}]


@pytest.mark.parametrize("left", [b'{"key": 1', b'{"key": "\xc3', b"{"])
def test_a_line_that_was_cut_short_spoils_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, left: bytes
) -> None:
    path = tmp_path / "log.ndjson"
    add_line(path, {"key": 1})
    path.write_bytes(path.read_bytes() + left)
    with caplog.at_level(logging.WARNING):
        assert list(read_lines(path, {"key"})) == [{"key": 1}]
    (told,) = caplog.messages
    assert told == f"{path}, line 2: is no whole entry; left out"
    add_line(path, {"key": 2})
    assert list(read_lines(path, {"key"})) == [{"key": 1}, {"key": 2}]


def test_what_is_no_entry_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log.ndjson"
    path.write_text('"key"\n["key"]\n{"other": 1}\n{"key": 1, "other": 1}\n')
    assert list(read_lines(path, {"key"})) == [{"key": 1, "other": 1}]
