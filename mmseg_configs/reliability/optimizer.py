"""Training in bfloat16, on CPUs too."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class BFloat16OptimWrapper(OptimWrapper):
    """`OptimWrapper` whose forward pass runs under autocast to bfloat16.

    bfloat16 has float32's range, so the loss needs no scaling. MMEngine's `AmpOptimWrapper` does
    the same for GPUs only; CPUs with AMX or AVX512-BF16 gain as much.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast on the device that the model is on."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, torch.bfloat16):
            yield
