"""Models of toy size: tokenizers, pipelines of Stable Diffusion, judges of images and text."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

ROOT = Path(__file__).parents[2]


START, END = "<|startoftext|>", "<|endoftext|>"


def write_tokenizer(folder: Path, words: tuple[str, ...] = (), length: int = 20) -> None:
    """A CLIP tokenizer that has a token for each byte and for each of ``words``."""
    alphabet = sorted(ByteLevel.alphabet())
    symbols = [START, END, *alphabet, *(f"{symbol}</w>" for symbol in alphabet)]
    merges = []
    for word in words:
        left = word[0]
        for position, letter in enumerate(word[1:], start=1):
            right = letter if position < len(word) - 1 else f"{letter}</w>"
            if (left, right) not in merges:
                merges.append((left, right))
                symbols.append(left + right)
            left += right
    vocab = {symbol: number for number, symbol in enumerate(dict.fromkeys(symbols))}
    tokenizer = CLIPTokenizer(
        vocab=vocab,
        merges=merges,
        unk_token=END,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=length,
    )
    tokenizer.save_pretrained(folder)


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A Stable Diffusion folder with the storybook model's shapes and next to no weights."""
    folder = tmp_path / "model"
    parts = {
        "unet": (
            "diffusion_pytorch_model",
            {
                "_class_name": "UNet2DConditionModel",
                "down_block_types": ["CrossAttnDownBlock2D"] * 3,
                "mid_block_type": "UNetMidBlock2DCrossAttn",
                "up_block_types": ["CrossAttnUpBlock2D"] * 3,
            },
        ),
        "vae": (
            "diffusion_pytorch_model",
            {"_class_name": "AutoencoderTiny", "block_out_channels": [32, 32, 32]},
        ),
        "text_encoder": ("model", {"max_position_embeddings": 20}),
    }
    for name, (stem, config) in parts.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "config.json").write_text(json.dumps(config))
        save_file({"weight": np.arange(4, dtype=np.float32)}, folder / name / f"{stem}.safetensors")
    (folder / "scheduler").mkdir()
    (folder / "scheduler/scheduler_config.json").write_text("{}")
    classes = ("car", "boat", "tree", "house", "bird", "fish", "dog", "flower")
    others = ("automobile", "picture", "under", "drawing")
    write_tokenizer(folder / "tokenizer", (*others, *classes))
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderTiny"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "safety_checker": [None, None],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


WORDS = ("a", "an", "and", "dog", "oak", "automobile", "picture")
"""What the toy pipelines' tokenizers know as one token; other words have a token per letter."""


def _toy_network(kind: str) -> dict[str, Any]:
    """What sets the UNets of the three families apart, at toy size."""
    cross, plain = "CrossAttn{}Block2D", "{}Block2D"
    if kind == "XL":
        down, channels = [plain, cross, cross], (8, 16, 16)
        family: dict[str, Any] = {
            "use_linear_projection": True,
            "attention_head_dim": (1, 2, 4),
            "transformer_layers_per_block": (1, 2, 3),
            "cross_attention_dim": 64,
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 32 + 6 * 8,
        }
    else:
        down, channels = [cross, cross, cross, plain], (8, 16, 16, 16)
        family = {"attention_head_dim": 2, "cross_attention_dim": 32}
        if kind == "2.x":
            family |= {
                "use_linear_projection": True,
                "attention_head_dim": (1, 2, 4, 4),
                "upcast_attention": True,
            }
    return {
        "sample_size": 8,
        "in_channels": 4,
        "out_channels": 4,
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "block_out_channels": channels,
        "down_block_types": [block.format("Down") for block in down],
        "up_block_types": [block.format("Up") for block in reversed(down)],
        **family,
    }


def write_toy_pipeline(folder: Path, kind: str) -> None:
    """A Stable Diffusion pipeline of diffusers' own classes with seeded random weights.

    Eight pixels per latent position and 77 tokens as in the real ones; sampled in a tenth of a
    second.

    Args:
        folder: where to save it, in diffusers format.
        kind: "1.x", "2.x" or "XL".
    """
    import torch  # slow to import, and needed by few tests
    from diffusers import (
        AutoencoderKL,
        DDIMScheduler,
        EulerDiscreteScheduler,
        StableDiffusionPipeline,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from diffusers.models.attention_processor import Attention
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    torch.manual_seed(0)
    write_tokenizer(folder / "tokenizer", WORDS, 77)
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    text = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=32,
        projection_dim=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    unet = UNet2DConditionModel(**_toy_network(kind))
    for layer in unet.modules():
        if isinstance(layer, Attention):  # random weights attend to all tokens alike: sharpen
            layer.to_q.weight.data *= 4
            layer.to_k.weight.data *= 4
    parts = {
        "vae": AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 4,
            up_block_types=["UpDecoderBlock2D"] * 4,
            block_out_channels=(4, 4, 8, 8),
            norm_num_groups=4,
        ),
        "unet": unet,
        "text_encoder": CLIPTextModel(text),
        "tokenizer": tokenizer,
    }
    if kind == "XL":
        pipeline = StableDiffusionXLPipeline(
            **parts,
            text_encoder_2=CLIPTextModelWithProjection(text),
            tokenizer_2=CLIPTokenizer.from_pretrained(folder / "tokenizer", pad_token="a</w>"),
            scheduler=EulerDiscreteScheduler(),
        )
    else:
        pipeline = StableDiffusionPipeline(
            **parts,
            scheduler=DDIMScheduler(
                prediction_type="v_prediction" if kind == "2.x" else "epsilon",
                clip_sample=False,
                steps_offset=1,
            ),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    pipeline.save_pretrained(folder)


@pytest.fixture(scope="session")
def toy_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Saved pipelines of the three families that are supported: "1.x", "2.x" and "XL"."""
    folders = {kind: tmp_path_factory.mktemp("toys") / kind for kind in ("1.x", "2.x", "XL")}
    for kind, folder in folders.items():
        write_toy_pipeline(folder, kind)
    return folders


@pytest.fixture(scope="session")
def clip_tokenizer() -> CLIPTokenizer:
    """The tokenizer of Stable Diffusion 1.x: CLIP's, built from its published merges."""
    path = ROOT / "../shared/data/lists/bpe_simple_vocab_16e6.txt.gz"
    if not path.is_file():
        pytest.skip("needs CLIP's merges in ../shared/data/lists")
    lines = gzip.decompress(path.read_bytes()).decode().splitlines()
    merges = [tuple(line.split()) for line in lines[1 : 49_152 - 256 - 2 + 1]]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = [chr(byte) for byte in printable] + [chr(256 + n) for n in range(len(others))]
    symbols = [*alphabet, *(f"{symbol}</w>" for symbol in alphabet)]
    symbols += ["".join(merge) for merge in merges]
    return CLIPTokenizer(
        vocab={symbol: number for number, symbol in enumerate([*symbols, START, END])},
        merges=merges,
        unk_token=END,
        bos_token=START,
        eos_token=END,
        pad_token=END,
        model_max_length=77,
    )


def write_image_text(folder: Path, kind: str) -> None:
    """A CLIP or SigLIP model of some thousand random weights, with tokenizer and processor."""
    import torch
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        SiglipConfig,
        SiglipImageProcessor,
        SiglipModel,
    )

    torch.manual_seed(0)
    write_tokenizer(folder, ("dog", "car"))
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    layers = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    text = layers | {
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 20,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    vision = layers | {"image_size": 32, "patch_size": 8}
    if kind == "clip":
        config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
        CLIPModel(config).save_pretrained(folder)
        size = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
        CLIPImageProcessor(**size).save_pretrained(folder)
    else:
        config = SiglipConfig(text_config=text | {"projection_size": 16}, vision_config=vision)
        SiglipModel(config).save_pretrained(folder)
        SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


@pytest.fixture(scope="session")
def image_text_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Saved models that compare images with texts: "clip" and "siglip"."""
    folders = {kind: tmp_path_factory.mktemp("image_text") / kind for kind in ("clip", "siglip")}
    for kind, folder in folders.items():
        write_image_text(folder, kind)
    return folders
