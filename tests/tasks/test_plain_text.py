from tasks.plain_text import plain


def test_plain_text_is_one_line_without_control_characters() -> None:
    said = plain("a [red]dog[/red]\n\x1b[31m<script>\x07\x9b")
    assert said == "a [red]dog[/red]\\n\\x1b[31m<script>\\x07\\x9b"
    assert plain("Käse 日本 🐶") == "Käse 日本 🐶"
    assert plain(3) == "3"
