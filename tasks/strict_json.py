"""JSON that any reader takes: Python's own writes NaN, which JSON has no word for."""

import json
import math
from typing import Any


def strict_json(value: Any) -> str:
    """Indented JSON; NaN and infinity become null."""
    return json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
