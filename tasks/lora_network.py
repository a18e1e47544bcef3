"""A frozen UNet with a LoRA adapter on its attention (Hu et al. 2021, arXiv 2106.09685)."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY
from peft import LoraConfig, get_peft_model_state_dict
from safetensors.torch import save_file
from torch import Tensor

from tasks.adapters import ADAPTER_FILE
from tasks.params import AdaptLora
from tasks.records import content_seed


def lora_config(section: AdaptLora) -> LoraConfig:
    """PEFT's configuration; diffusers calls self-attention attn1 and cross-attention attn2."""
    names = {"self": "attn1", "cross": "attn2"}
    return LoraConfig(
        r=section.rank,
        lora_alpha=section.alpha,
        target_modules=[f"{names[k]}.{part}" for k in section.layers for part in section.targets],
    )


class Adapter:
    """A frozen UNet with a new adapter on it.

    Args:
        unet: takes the adapter.
        section: the recipe.

    Attributes:
        parameters: name -> weight of the adapter, ``float32``; they start at no change at all.
    """

    def __init__(self, unet: UNet2DConditionModel, section: AdaptLora) -> None:
        self.unet, self.config = unet, lora_config(section)
        unet.requires_grad_(False).eval()
        unet.add_adapter(self.config)
        self.parameters = {
            name: weight for name, weight in unet.named_parameters() if weight.requires_grad
        }
        generator = torch.Generator().manual_seed(content_seed("adapter", section.seed))
        for name, weight in self.parameters.items():
            weight.data = weight.data.float()
            if "lora_A" in name:
                start = torch.randn(weight.shape, generator=generator) / section.rank
                weight.data.copy_(start)

    def state(self) -> dict[str, Tensor]:
        """A copy of the weights on the CPU."""
        return {
            name: weight.detach().to("cpu", copy=True) for name, weight in self.parameters.items()
        }

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Set the weights."""
        for name, weight in self.parameters.items():
            weight.data.copy_(state[name])

    def save(self, pipeline: type[DiffusionPipeline], folder: Path) -> None:
        """Write the weights in diffusers' format, the same bytes for the same weights."""
        layers = {
            name: weight.cpu().contiguous()
            for name, weight in get_peft_model_state_dict(self.unet).items()
        }
        said = self.config.to_dict()
        said["target_modules"] = sorted(said["target_modules"])  # a set there, in any order
        config = json.dumps({f"unet.{key}": value for key, value in said.items()}, sort_keys=True)

        def write(tensors: dict[str, Tensor], file: str) -> None:
            # One entry: safetensors writes several in any order.
            save_file(tensors, file, metadata={LORA_ADAPTER_METADATA_KEY: config})

        pipeline.save_lora_weights(
            folder, unet_lora_layers=layers, weight_name=ADAPTER_FILE, save_function=write
        )
