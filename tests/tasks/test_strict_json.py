import json
import math

from tasks.strict_json import strict_json


def test_what_is_no_number_is_null() -> None:
    text = strict_json({"a": [math.nan, 1.5, (math.inf,)], "b": {"c": -math.inf, "ä": "NaN"}})
    assert json.loads(text) == {"a": [None, 1.5, [None]], "b": {"c": None, "ä": "NaN"}}
    assert "ä" in text and text.startswith('{\n  "a": [\n')
