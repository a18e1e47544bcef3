"""Samples that cannot be trained on, told in one message from whichever process reads them."""

from typing import Any

from tasks.params import InputError


class SampleError(InputError):
    """A sample's files break a rule; the message names sample, file, rule and remedy.

    PyTorch raises what went wrong in a worker process anew, with the traceback for its message: of
    that the last line is kept.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message.rpartition("SampleError: ")[2].strip())


def sample_name(results: dict[str, Any]) -> str:
    """What to call a sample: its id or, where it has none, its image."""
    return str(results.get("sample_id", results.get("img_path", "without a name")))
