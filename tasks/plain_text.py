"""Text from files that others wrote, for a terminal."""

from typing import Any


def plain(text: Any) -> str:
    """One line of printable characters: line breaks and control characters as escapes."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in str(text)
    )
