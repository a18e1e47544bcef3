"""Data as classic scripts, the one form that a page opened from disk may load on demand.

``fetch`` and modules are refused to pages without a server. A script calls a function of the page
with one value. Imports no torch.
"""

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np


def script_json(value: Any) -> str:
    """``value`` as JSON that stays data wherever it stands, inside a page's script too.

    ASCII alone, so that U+2028 ends no line; ``<``, ``>`` and ``&`` are escaped, so that no text
    closes the script or opens a comment.

    Raises:
        ValueError: a number is NaN or infinite, which JSON does not have.
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def pack(values: Any, dtype: str) -> str:
    """Numbers as base64 of their little-endian bytes, which a typed array takes as they are."""
    array = np.asarray(values, np.dtype(dtype).newbyteorder("<"))
    return base64.b64encode(array.tobytes()).decode()


def write_script(path: Path, function: str, number: int, value: Any) -> None:
    """Write a script that calls ``maskloom.FUNCTION(NUMBER, VALUE)``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"maskloom.{function}({number},{script_json(value)});\n", encoding="ascii")
