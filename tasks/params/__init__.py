"""The parameters: one pydantic model per section of ``params.yaml``, one section per stage.

Unknown keys are refused. `load_params` turns every violation into one message that names the key,
the value, the rule and, for a misspelt key, the nearest match. Imports no torch.
"""

from tasks.params.adaptation import AdaptLora
from tasks.params.errors import InputError
from tasks.params.filtering import CrossValidation, FilterMasks, Quantile, Ratio, Similarity
from tasks.params.masks import DenseCrf, DiffuMask, ExtractMasks
from tasks.params.prompts import (
    BACKGROUND_NAME,
    RELATIONS,
    ClassPhrases,
    ExpandPrompts,
    Relation,
    SourceShares,
)
from tasks.params.reading import load_params, read_raw
from tasks.params.sampling import SampleImages, Scheduler
from tasks.params.training import TrainSegmenter
from tasks.params.whole import Params

__all__ = [
    "BACKGROUND_NAME",
    "RELATIONS",
    "AdaptLora",
    "ClassPhrases",
    "CrossValidation",
    "DenseCrf",
    "DiffuMask",
    "ExpandPrompts",
    "ExtractMasks",
    "FilterMasks",
    "InputError",
    "Params",
    "Quantile",
    "Ratio",
    "Relation",
    "SampleImages",
    "Scheduler",
    "Similarity",
    "SourceShares",
    "TrainSegmenter",
    "load_params",
    "read_raw",
]
