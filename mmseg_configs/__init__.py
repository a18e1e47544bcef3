"""Configs for MMSegmentation, each only its difference, and the code that they load by name."""

import io
import warnings
from contextlib import redirect_stdout

# MMSegmentation says on standard output and by warnings which of its optional parts are missing.
with redirect_stdout(io.StringIO()), warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mmseg.datasets
    import mmseg.models  # noqa: F401  # each import registers what the configs name
