import io

from rich.console import Console, RenderableType
from rich.text import Text

from tasks.lineage_views import facts, grid, marked
from tasks.plain_text import plain

HOSTILE = "a [red]dog[/red]\n\x1b[31m<script>\x07"


def shown(view: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    console.print(view)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_markup_stays_text_everywhere() -> None:
    for view in (facts([("prompt", HOSTILE)]), grid(HOSTILE, rows=[[HOSTILE]], title="t")):
        assert plain(HOSTILE) in shown(view)
        assert "\x1b" not in shown(view)


def test_class_words_are_marked_where_they_stand() -> None:
    text = "a dog\nand a [b]cat"
    classes = [
        {"start": text.index("cat"), "end": text.index("cat") + 3},
        {"start": 2, "end": 5},
    ]
    found = marked(text, classes)
    assert isinstance(found, Text)
    assert found.plain == "a dog\\nand a [b]cat"
    assert sorted(found.plain[span.start : span.end] for span in found.spans) == ["cat", "dog"]
    assert len({str(span.style) for span in found.spans}) == 2


def test_none_is_left_out_of_facts() -> None:
    assert shown(facts([("a", None), ("b", 0)])).split() == ["b", "0"]
