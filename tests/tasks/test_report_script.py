"""Data as scripts: nothing in them ends the script, and numbers survive."""

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from tasks.report_script import pack, script_json, write_script

HOSTILE = "</script><!-- & \u2028 \u2029 'x' \"y\" \\u003c"


def test_no_text_leaves_its_string() -> None:
    text = script_json({HOSTILE: [HOSTILE]})
    assert text.isascii()
    assert not set("<>&") & set(text)
    assert json.loads(text) == {HOSTILE: [HOSTILE]}


def test_numbers_that_json_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_json({"score": float("nan")})


def test_numbers_are_packed_little_endian() -> None:
    assert base64.b64decode(pack([1, 258], "u4")) == bytes([1, 0, 0, 0, 2, 1, 0, 0])
    values = [0.1, np.nan, -2.5]
    back = np.frombuffer(base64.b64decode(pack(values, "f4")), "<f4")
    assert np.array_equal(back, np.float32(values), equal_nan=True)


def test_a_script_calls_the_page(tmp_path: Path) -> None:
    write_script(tmp_path / "data/table-0003.js", "table", 3, {"ids": ["<b>"]})
    text = (tmp_path / "data/table-0003.js").read_text()
    assert text == 'maskloom.table(3,{"ids":["\\u003cb\\u003e"]});\n'
