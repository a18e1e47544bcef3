"""What several tests of stages need: parameters to change, and models of toy size."""

import gzip
import json
import shutil
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import CLIPTokenizer

from tasks.captures import Captured
from tasks.label_maps import (
    encode_grey,
    encode_image,
    encode_label,
    ignore_value,
    label_dtype,
)
from tasks.params import Params
from tasks.records import (
    DATASET,
    MASKS,
    PROMPTS,
    SAMPLES,
    content_id,
    content_seed,
    read_rows,
    write_json,
    write_table,
)
from tasks.shards import parse_uri, write_shard

ROOT = Path(__file__).parents[2]
START, END = "<|startoftext|>", "<|endoftext|>"


def change(raw: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Set dotted keys in a params mapping."""
    for key, value in changes.items():
        *path, last = key.split(".")
        place = raw
        for part in path:
            place = place[part]
        place[last] = value
    return raw


@pytest.fixture
def make_params() -> Callable[..., Params]:
    """The default preset's parameters with some dotted keys changed."""

    def make(changes: dict[str, Any] | None = None) -> Params:
        raw = yaml.safe_load((ROOT / "presets/storybook.yaml").read_text(encoding="utf-8"))
        return Params.model_validate(change(raw, changes or {}))

    return make


HEIGHT, WIDTH = 12, 20
"""Of the pictures of `make_dataset`."""


def exported_label(number: int, names: list[str]) -> np.ndarray:
    """Blocks of two classes, one pixel of the last one, rest of value 0, some pixels ignored."""
    dtype = label_dtype(len(names))
    label = np.zeros((HEIGHT, WIDTH), dtype)
    first = int(names[0] == "background")
    label[2:8, 3:9] = first + number % (len(names) - first)
    label[6:11, 8:17] = first + (number + 1) % (len(names) - first)
    label[0, 0] = len(names) - 1
    label[:, -2:] = ignore_value(dtype)
    return label


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[..., Path]:
    """Makes a repository root with a dataset: four samples to train on, one val, one rejected."""

    def make(
        names: tuple[str, ...] = ("background", "car", "dog"),
        prompt: str = "a picture of a car",
        ids: tuple[str, ...] = tuple(f"{number:016x}" for number in range(6)),
    ) -> Path:
        root = tmp_path / "root"
        rng = np.random.default_rng(0)
        maps: dict[str, list[bytes]] = {"image": [], "label": [], "reliability": []}
        for number in range(len(ids)):
            image = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
            maps["image"].append(encode_image(image))
            maps["label"].append(encode_label(exported_label(number, list(names))))
            trust = rng.integers(0, 256, (HEIGHT, WIDTH)).astype(np.uint8)
            maps["reliability"].append(encode_grey(trust))
        uris: dict[str, list[str]] = {}
        crcs = {kind: list(map(zlib.crc32, files)) for kind, files in maps.items()}
        for kind, files in maps.items():
            path = Path(f"data/{kind}.tar")
            written = write_shard(root / path, [(f"{n}.png", data) for n, data in enumerate(files)])
            uris[kind] = [replace(member, path=str(path)).uri for member in written]
        rows = [
            {
                "sample_id": key,
                "prompt_id": f"p{number}",
                "text": prompt,
                "classes": [{"name": names[-1], "area": 0.25, "peak": 1, "margin": 1}],
                "kept": number < 5,
                "reason": "" if number < 5 else f"{names[-1]}: area 0.010 below min_area 0.04",
                "split": ("train", "train", "train", "train", "val", "")[number % 6],
                **{kind: listed[number] for kind, listed in uris.items()},
            }
            for number, key in enumerate(ids)
        ]
        samples = [
            {"sample_id": key, "seed": 2**62 + n, "image_crc32": crcs["image"][n]}
            for n, key in enumerate(ids)
        ]
        masks = [
            {"sample_id": key}
            | {f"{kind}_crc32": crcs[kind][n] for kind in ("label", "reliability")}
            for n, key in enumerate(ids)
        ]
        write_table(root / "data/dataset/index.parquet", rows, DATASET)
        write_json(root / "data/dataset/classes.json", list(names))
        write_table(root / "data/samples/index.parquet", samples, SAMPLES)
        write_table(root / "data/masks/index.parquet", masks, MASKS)
        write_json(root / "data/inputs/model.json", {"digest": "d" * 64})
        write_json(root / "models/lora/adapter.json", {"digest": "abc"})
        shutil.copy(ROOT / "presets/storybook.yaml", root / "params.yaml")
        return root

    return make


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


@pytest.fixture
def make_job(
    tmp_path: Path, toy_folders: dict[str, Path], make_params: Callable[..., Params]
) -> Callable[..., Any]:
    """What to train a toy pipeline's adapter from: five pictures, the last of them wide."""
    from tasks.encoding import Captioned  # imports torch
    from tasks.lora_trainer import Job

    rng = np.random.default_rng(0)
    for number in range(5):
        shape = (40, 80, 3) if number == 4 else (64, 64, 3)
        pixels = rng.integers(0, 255, (1, 1, 3)) * np.ones(shape) * rng.uniform(0.5, 1, shape)
        path = tmp_path / f"own/{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(encode_image(pixels.astype(np.uint8)))

    def make(kind: str = "1.x", **changes: Any) -> Job:
        values = {
            "adapter": "train",
            "images": "own",
            "batch_size": 2,
            "steps": 6,
            "eval_interval": 2,
            "warmup": 0,
            "learning_rate": 0.01,
            "rank": 4,
            "alpha": 6.0,
            "dtype": "float32",
            "crops_per_image": 2,
            **changes,
        }
        section = make_params({f"adapt_lora.{key}": v for key, v in values.items()}).adapt_lora
        images = tuple(
            Captioned(tmp_path / f"own/{n}.png", f"{n}.png", caption, f"digest{n}")
            for n, caption in enumerate(["a dog", "an oak"] * 2 + ["a dog"])
        )
        return Job(section, str(toy_folders[kind]), "base", (64, 64), images, ("dog", "oak"))

    return make


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


@pytest.fixture(scope="session")
def shared_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty repository root that finds ``../shared/data`` where this one does."""
    shared = ROOT / "../shared"
    if not (shared / "data/lists").is_dir():
        pytest.skip("needs the lists in ../shared/data, which are no part of the repository")
    base = tmp_path_factory.mktemp("beside_shared")
    (base / "root").mkdir()
    (base / "shared").symlink_to(shared.resolve())
    return base / "root"


TINY_CONFIG = """
loss = dict(type="ReliabilityCrossEntropy")
head = dict(type="FCNHead", in_channels=8, channels=8, num_convs=1, concat_input=False,
            num_classes=2, loss_decode=loss)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(type="ReliabilityDataPreProcessor", size=(16, 16), bgr_to_rgb=True,
                           mean=[128.0] * 3, std=[64.0] * 3),
    backbone=dict(type="ResNet", depth=18, num_stages=1, out_indices=(0,), strides=(1,),
                  dilations=(1,), stem_channels=8, base_channels=8),
    decode_head=head,
    auxiliary_head=head,
    test_cfg=dict(mode="whole"),
)
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="LoadReliability"),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackReliabilityInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
optim_wrapper = dict(optimizer=dict(type="AdamW"))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.5, end=2, by_epoch=False),
    dict(type="PolyLR", by_epoch=False),
]
"""
"""A network of some thousand weights for 16x16 pixels, with all the parts of a real one."""


def write_square(number: int) -> tuple[bytes, bytes, bytes]:
    """A red (class 1) or blue (class 2) square on grey as PNG: image, label, reliability of 0.5."""
    rng = np.random.default_rng(number)
    image = rng.integers(90, 130, (16, 16, 3)).astype(np.uint8)
    label = np.zeros((16, 16), np.uint8)
    top, left = rng.integers(0, 8, 2)
    square = (slice(top, top + 8), slice(left, left + 8))
    value = number % 2 + 1
    label[square] = value
    image[square] = (220, 30, 30) if value == 1 else (30, 30, 220)
    return encode_image(image), encode_label(label), encode_grey(np.full((16, 16), 128, np.uint8))


@pytest.fixture(scope="session")
def training_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository root with all that trainings read: ``tiny.py``, a dataset, storybook's sets."""
    root = tmp_path_factory.mktemp("training")
    (root / "tiny.py").write_text(TINY_CONFIG)
    uris: list[dict[str, str]] = [{} for _ in range(16)]
    members = {
        kind: [(f"{number}.{kind}.png", write_square(number)[at]) for number in range(16)]
        for at, kind in enumerate(("image", "label", "reliability"))
    }
    members["uncertainty"] = [
        (name.replace("reliability", "uncertainty"), data) for name, data in members["reliability"]
    ]
    for kind, files in members.items():
        path = Path(f"data/{kind}.tar")
        for row, member in zip(uris, write_shard(root / path, files), strict=True):
            row[kind] = replace(member, path=str(path)).uri
    rows = [
        {
            "sample_id": str(number),
            "kept": True,
            "split": "train" if number < 12 else "val",
            "classes": [
                {"name": ("red", "blue")[number % 2], "area": 0.25, "peak": 1, "margin": 1}
            ],
            **row,
        }
        for number, row in enumerate(uris)
    ]
    write_table(root / "data/dataset/index.parquet", rows, DATASET)
    write_json(root / "data/dataset/classes.json", ["background", "red", "blue"])
    for number, (part, count) in enumerate({"train": 8, "val": 4, "test": 6}.items()):
        for index in range(count):
            files = write_square(100 * (number + 1) + index)
            for folder, data in zip(("images", "labels"), files, strict=False):
                path = root / f"data/storybook/{part}/{folder}/{index:05d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
    return root


@pytest.fixture
def toy_params(make_params: Callable[..., Params]) -> Callable[..., Params]:
    """Parameters that fit `training_root`: its classes, and trainings of four iterations."""

    def make(changes: dict[str, Any] | None = None) -> Params:
        return make_params(
            {
                "expand_prompts.classes": [
                    {"name": name, "phrases": [name], "synonyms": [], "hyponyms": []}
                    for name in ("red", "blue")
                ],
                "train_segmenter.config": "tiny.py",
                "train_segmenter.iterations": 4,
                "train_segmenter.checkpoint_interval": 2,
                "train_segmenter.batch_size": 4,
                "train_segmenter.warmup": 0.0,
                "train_segmenter.fade": 0.5,
                "train_segmenter.reliability": "weighted",
                **(changes or {}),
            }
        )

    return make


@pytest.fixture
def make_config(toy_params: Callable[..., Params], training_root: Path) -> Callable[..., Any]:
    """The config of a training of four iterations on the toy dataset, with some changes."""
    from tasks.training_config import build_config  # seconds to import, and needed by few tests

    def make(mapped: bool = True, others: dict[str, Any] | None = None, **changes: Any) -> Any:
        mine = {f"train_segmenter.{key}": value for key, value in changes.items()}
        section = toy_params({**mine, **(others or {})})
        train_set, val_set = (
            {
                "type": "ShardDataset",
                "folder": str(training_root / "data/dataset"),
                "split": split,
                "root": str(training_root),
            }
            for split in ("train", "val")
        )
        return build_config(
            section.train_segmenter,
            train_set,
            val_set,
            3,
            reliability=mapped,
            root=training_root,
        )

    return make


HOSTILE = "a <script>alert('1')</script> [red]poodle[/red]\nand a \x1b[31mcar"
"""A prompt that is markup to HTML, to rich and to a terminal."""


def write_pipeline_state(root: Path, seed: int = 0, text: str = HOSTILE) -> None:
    """Outputs of all stages for six samples in two shards, with exact labels of a red square.

    Samples 0 to 3 are of dog, 4 and 5 of car; sample 1 is rejected, its text is ``text``.

    Args:
        root: a repository root, see `benchmarks.lineage_state`.
        seed: of the images; other seeds make other samples of the same prompts.
    """
    from tasks import filter_masks, score_masks
    from tasks.params import load_params

    params = load_params(root / "params.yaml", lists=None)
    prompts, samples, masks = [], [], []
    shards: dict[str, list[tuple[dict[str, Any], dict[str, Any]]]] = {}
    for number in range(6):
        name = "dog" if number < 4 else "car"
        phrase = "poodle" if number == 1 else name
        said = text if number == 1 else f"a photo of a {phrase}, {number}"
        start = said.index(phrase)
        word = {
            "name": name,
            "phrase": phrase,
            "start": start,
            "end": start + len(phrase),
            "relation": "hyponym" if number == 1 else "plain",
            "depth": 2 if number == 1 else 0,
            "synset": "oewn-02116078-n" if number == 1 else "",
        }
        prompt_id = content_id("prompt", number)
        prompts.append(
            {
                "prompt_id": prompt_id,
                "seed": content_seed(number),
                "text": said,
                "negative_prompt": "",
                "classes": [word],
                "source": "templates",
                "template": "a photo of a {}",
                "caption_id": "",
            }
        )
        sample = {
            "sample_id": content_id("sample", seed, number),
            "prompt_id": prompt_id,
            "seed": content_seed(number),
        }
        area = 0.01 if number == 1 else 0.25
        shown = {"area": area, "peak": 0.5, "margin": 0.5, "entropy": 0.2, "agreement": 0.9}
        mask = {
            "sample_id": sample["sample_id"],
            "entropy": 0.1,
            "classes": [{"name": name, **shown}],
        }
        shards.setdefault(f"{name}-0000.tar", []).append((sample, mask))
    for shard, rows in shards.items():
        images, labels = [], []
        for sample, _ in rows:
            stem = sample["sample_id"]
            image, label, trust = write_square(int(stem, 16) % 1000)
            attention = bytes([0, 1, 2, 3]) * 50 + stem.encode()
            images += [(f"{stem}.png", image), (f"{stem}.attention.safetensors", attention)]
            labels += [(f"{stem}.label.png", label), (f"{stem}.reliability.png", trust)]
        for folder, files, kinds, place in (
            ("samples", images, ("image", "attention"), 0),
            ("masks", labels, ("label", "reliability"), 1),
        ):
            path = f"data/{folder}/shards/{shard}"
            written = iter(write_shard(root / path, files))
            for row in rows:
                row[place]["shard"] = path
                for kind in kinds:
                    at = next(written)
                    where = {"offset": at.offset, "size": at.size, "crc32": at.crc32}
                    row[place].update({f"{kind}_{key}": value for key, value in where.items()})
        samples += [sample for sample, _ in rows]
        masks += [mask for _, mask in rows]
    write_table(root / "data/prompts.parquet", prompts, PROMPTS)
    write_table(root / "data/samples/index.parquet", samples, SAMPLES)
    write_table(root / "data/masks/index.parquet", masks, MASKS)
    score_masks.run(params, root)
    filter_masks.run(params, root)
    model = {"pipeline": "StableDiffusionPipeline", "digest": "ab" * 32, "files": {}}
    write_json(root / "data/inputs/model.json", model)
    for name in ("labelled_set", "test_set", "reference", "texts", "init_from"):
        write_json(root / f"data/inputs/{name}.json", {"digest": None})
    write_json(root / "metrics/preflight.json", {"ok": True})
    adapter = {
        "source": "trained",
        "digest": "cd" * 32,
        "base": model["digest"],
        "images": [{"name": "street.png", "digest": "ef" * 32, "caption": "a street"}],
    }
    write_json(root / "models/lora/adapter.json", adapter)
    for name in ("segmenter", "reference"):
        (root / "models" / name).mkdir(parents=True, exist_ok=True)
        (root / "models" / name / "weights.pth").write_bytes(f"{name} {seed}".encode())
        write_json(root / "models" / name / "classes.json", params.expand_prompts.label_names)
    write_json(root / "metrics/training.json", {"iterations": 4, "images": 5, "init_from": None})
    write_json(root / "metrics/evaluation.json", {"miou": 0.5 + seed / 10, "per_class": {}})
    for module in ("sample_images", "filter_masks"):
        path = root / f"tasks/{module}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"# {module}\n")


@pytest.fixture
def lineage_root(tmp_path: Path) -> Path:
    """A repository whose pipeline has run once, on six samples, and whose state is committed."""
    from benchmarks.lineage_state import commit, record, start

    root = tmp_path / "repository"
    start(root)
    write_pipeline_state(root)
    record(root)
    commit(root, "the first state")
    return root


@pytest.fixture
def scoring_root(training_root: Path, tmp_path: Path) -> Path:
    """A repository root with the samples and masks of `training_root`'s dataset and ``tiny.py``."""
    root = tmp_path / "scoring"
    (root / "data").mkdir(parents=True)
    (root / "tiny.py").write_text(TINY_CONFIG)
    samples, masks, prompts = [], [], []
    for number, row in enumerate(read_rows(training_root / "data/dataset/index.parquet")):
        at = {kind: parse_uri(row[kind]) for kind in ("image", "label", "reliability")}
        name, red = f"sample{number}", number % 2 == 0
        samples.append(
            {
                "sample_id": name,
                "prompt_id": f"prompt{number}",
                "seed": number,
                "shard": at["image"].path,
                "image_offset": at["image"].offset,
                "image_size": at["image"].size,
                "attention_offset": 0,
                "attention_size": 0,
            }
        )
        shown = {"area": 0.25, "peak": 0.5, "margin": 0.6, "entropy": 0.2, "agreement": 0.9}
        masks.append(
            {
                "sample_id": name,
                "shard": "data/masks.tar",
                "label_offset": at["label"].offset,
                "label_size": at["label"].size,
                "entropy": 0.1,
                "classes": [{"name": "red" if red else "blue"} | shown],
            }
        )
        text = f"a {'red' if red else 'blue'} square, number {number // 4}"
        prompts.append({"prompt_id": f"prompt{number}", "seed": number, "text": text})
    for kind in ("image", "label", "reliability"):
        shutil.copy(training_root / f"data/{kind}.tar", root / "data")
    # A mask's label and reliability lie in one shard.
    parts = [(root / f"data/{kind}.tar").read_bytes() for kind in ("label", "reliability")]
    (root / "data/masks.tar").write_bytes(b"".join(parts))
    for mask, row in zip(
        masks, read_rows(training_root / "data/dataset/index.parquet"), strict=True
    ):
        trust = parse_uri(row["reliability"])
        mask["reliability_offset"] = len(parts[0]) + trust.offset
        mask["reliability_size"] = trust.size
    write_table(root / "data/samples/index.parquet", samples, SAMPLES)
    write_table(root / "data/masks/index.parquet", masks, MASKS)
    write_table(root / "data/prompts.parquet", prompts, PROMPTS)
    return root


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


SCRIPT_PROMPT = "a <script>alert(\"1\")</script> car & 'boat'"
"""A prompt that would be a script, if it were not escaped."""
EVALUATED: dict[str, Any] = {
    "miou": 0.7,
    "reference_miou": 0.9,
    "ratio": 0.7778,
    "per_class": {"background": 0.95, "car": 0.6, "boat": None},
    "reference_per_class": {"background": 0.98, "car": 0.9, "boat": None},
    "images": 300,
    "test_set": "data/storybook/test",
    "not_measured": [],
}


@pytest.fixture
def finished_run(tmp_path: Path) -> Path:
    """A finished run of two classes: two kept samples and a rejected one."""
    rng = np.random.default_rng(0)
    texts = ["a car", SCRIPT_PROMPT, "a boat"]
    names = [["car"], ["car", "boat"], ["boat"]]
    prompts, dataset = [], []
    for number, (text, classes) in enumerate(zip(texts, names, strict=True)):
        prompts.append(
            {
                "prompt_id": f"p{number}",
                "seed": 2**62 + number,
                "text": text,
                "negative_prompt": "shard://is no address here",
                "source": "templates",
                "template": "a {}",
                "caption_id": "",
                "classes": [
                    {
                        "name": name,
                        "phrase": name,
                        "start": text.index(name),
                        "end": text.index(name) + len(name),
                        "relation": "plain",
                        "depth": 0,
                        "synset": "",
                    }
                    for name in classes
                ],
            }
        )
        maps = rng.random((len(classes), 16, 16)).astype(np.float16)
        cross = {("middle", (16, 16)): maps, ("middle", (8, 8)): maps[:, ::2, ::2]}
        attention = Captured(cross | {("0", (16, 16)): 1 - maps}).encode()
        label = rng.integers(0, 3, (16, 16)).astype(np.uint8)
        files = [
            ("x.png", encode_image(rng.integers(0, 256, (16, 16, 3)).astype(np.uint8))),
            ("x.attention.safetensors", attention),
            ("x.label.png", encode_label(label)),
            ("x.reliability.png", encode_grey(label * 100)),
        ]
        members = write_shard(tmp_path / f"data/samples/shards/{number}.tar", files)
        uris = [member.uri.replace(f"shard://{tmp_path}/", "shard://", 1) for member in members]
        kept = number < 2
        scores = [{"name": name, "area": 0.2, "peak": 0.3, "margin": 0.4} for name in classes]
        dataset.append(
            {
                "sample_id": f"sample-{number}",
                "prompt_id": f"p{number}",
                "text": text,
                "classes": scores,
                "kept": kept,
                "rule": "" if kept else "min_area",
                "value": None if kept else 0.02,
                "bound": None if kept else 0.04,
                "reason": "" if kept else "boat: area 0.020 below min_area 0.04",
                "split": ("train", "val", "")[number],
                **dict(zip(("image", "attention", "label", "reliability"), uris, strict=True)),
            }
        )
    write_table(tmp_path / "data/prompts.parquet", prompts, PROMPTS)
    write_table(tmp_path / "data/dataset/index.parquet", dataset, DATASET)
    samples = [
        {
            "sample_id": row["sample_id"],
            "prompt_id": row["prompt_id"],
            "seed": 2**62 + number,
            "batch_size": 4,
            "image_crc32": number,
        }
        for number, row in enumerate(dataset)
    ]
    write_table(tmp_path / "data/samples/index.parquet", samples, SAMPLES)
    write_json(tmp_path / "data/inputs/model.json", {"digest": "0123456789abcdef" * 4})
    write_json(tmp_path / "models/lora/adapter.json", {"source": "none", "digest": None})
    curve = {"curve": [[10, 2.0], [20, 1.0]], "val": [[20, 0.5]]}
    counts = {
        "prompts": 1234,
        "distinct_texts": 1001,
        "distinct_words": 7,
        "repeats": 233,
        "withdrawn": 3,
        "relations": {"hyponym": 34, "plain": 1200},
        "depths": {"0": 1200, "1": 20, "3": 14},
    }
    metrics = {
        "prompts": counts | {"per_class": {"<car>": counts}},
        "filter": {
            "samples": 3,
            "kept": 2,
            "rejected": 1,
            "reasons": {"min_area": 1},
            "train": 1,
            "val": 1,
        },
        "training": {"iterations": 20, "images": 1, **curve},
        "reference_training": {"trained": True, "iterations": 20, "images": 9, **curve},
        "evaluation": EVALUATED,
    }
    for name, value in metrics.items():
        write_json(tmp_path / f"metrics/{name}.json", value)
    for what in ("truth", "prediction", "reference"):
        path = tmp_path / f"data/evaluation/0000.{what}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_label(np.eye(16, dtype=np.uint8)))
    image = encode_image(np.zeros((16, 16, 3), np.uint8))
    (tmp_path / "data/evaluation/0000.image.png").write_bytes(image)
    return tmp_path


@pytest.fixture
def write_plan(make_params: Callable[..., Params]) -> Callable[..., Params]:
    """Writes what `sample_images` reads: prompts of two classes, next to no steps."""
    from tasks.base_models import model_files, read_model
    from tasks.digests import DigestCache, combine, file_digests
    from tasks.prompts import expand
    from tasks.records import PROMPTS, write_rows

    def write(root: Path, images_per_class: int = 6, **changes: Any) -> Params:
        params = make_params(
            {
                "expand_prompts.classes": ["car", "dog"],
                "expand_prompts.images_per_class": images_per_class,
                "sample_images.model": str(ROOT / "models/storybook-sd"),
                "sample_images.num_inference_steps": 1,
                "sample_images.batch_size": 2,
                "sample_images.shard_size": 4,
                "sample_images.device": "cpu",
                **{key.replace("__", "."): value for key, value in changes.items()},
            }
        )
        write_rows(root / "data/prompts.parquet", expand(params.expand_prompts), PROMPTS)
        model = read_model(ROOT / "models/storybook-sd")
        files = file_digests(model.folder, model_files(model), DigestCache(root / "cache.json"))
        write_json(root / "data/inputs/model.json", {"digest": combine(files)})
        write_json(root / "models/lora/adapter.json", {"source": "none", "digest": None})
        return params

    return write
