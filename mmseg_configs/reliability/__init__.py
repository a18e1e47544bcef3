"""What MMSegmentation loads by name to train on labels that are more or less reliable.

A config names this package in ``custom_imports``; importing it registers everything.
"""

from mmseg_configs.reliability.co_training import CoTrainingSegmentor
from mmseg_configs.reliability.dataset import FolderDataset, ShardDataset
from mmseg_configs.reliability.file_backend import ShardBackend
from mmseg_configs.reliability.hook import ReliabilityHook
from mmseg_configs.reliability.losses import GeneralisedCrossEntropy, ReliabilityCrossEntropy
from mmseg_configs.reliability.optimizer import BFloat16OptimWrapper
from mmseg_configs.reliability.preprocessor import ReliabilityDataPreProcessor
from mmseg_configs.reliability.segmentor import ReliabilityEncoderDecoder
from mmseg_configs.reliability.transforms import (
    LoadLabelMap,
    LoadReliability,
    PackReliabilityInputs,
    PadReliability,
)

__all__ = [
    "BFloat16OptimWrapper",
    "CoTrainingSegmentor",
    "FolderDataset",
    "GeneralisedCrossEntropy",
    "LoadLabelMap",
    "LoadReliability",
    "PackReliabilityInputs",
    "PadReliability",
    "ReliabilityCrossEntropy",
    "ReliabilityDataPreProcessor",
    "ReliabilityEncoderDecoder",
    "ReliabilityHook",
    "ShardBackend",
    "ShardDataset",
]
