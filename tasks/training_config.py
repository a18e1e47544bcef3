"""The whole config of a training: a file's network and pipelines, the parameters' recipe, the data.

A config file says what the network is and what happens to its images. What reliability is used for
is a parameter: the file's ``EncoderDecoder`` is put into the segmentor that the method needs.
"""

import importlib.util
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.config.utils import MODULE2PACKAGE

from tasks.label_maps import IGNORE, IGNORE_16_BIT, ignore_value, label_dtype
from tasks.machine import choose_device
from tasks.params import InputError, TrainSegmenter

CURVE_POINTS = 50
SINGLE_NETWORKS = ("EncoderDecoder", "ReliabilityEncoderDecoder")
LABEL_LOADERS = ("LoadAnnotations", "LoadLabelMap")
OPTIM_WRAPPERS: dict[str, dict[str, Any]] = {
    "float32": {"type": "OptimWrapper"},
    "bfloat16": {"type": "BFloat16OptimWrapper"},
    "float16": {"type": "AmpOptimWrapper", "dtype": "float16"},
}
NEEDED_KEYS = ("model", "train_pipeline", "test_pipeline", "optim_wrapper", "param_scheduler")
"""Of a config file; ``optim_wrapper`` with its ``optimizer``."""
IGNORE_KEYS = {
    "RandomCrop": "ignore_index",
    "RandomMosaic": "seg_pad_val",
    "RandomRotate": "seg_pad_val",
}
"""Where MMSegmentation's transforms take the label that is ignored; 255 unless told."""


def load_config(path: Path, modules: bool = True) -> Config:
    """Read a config file; ``mmseg::`` in its ``_base_`` means the installed MMSegmentation.

    MMEngine looks for that by the name of the distribution, which is another one now.

    Args:
        modules: whether to import its ``custom_imports``, which bring torch along.
    """
    MODULE2PACKAGE["mmseg"] = "onedl-mmsegmentation"
    return Config.fromfile(path, import_custom_modules=modules)


def build_config(
    section: TrainSegmenter,
    train: dict[str, Any],
    val: dict[str, Any] | None,
    class_count: int,
    *,
    reliability: bool,
    root: Path,
) -> Config:
    """The whole config of a training.

    Args:
        section: the recipe; ``section.config`` names the file.
        train, val: the datasets without their pipelines; without ``val`` nothing is validated.
        class_count: label values, the background's included.
        reliability: whether the training set has reliability maps; then ``section.reliability``
            says what they are used for.
        root: the repository root, where ``section.config`` starts from.

    Raises:
        InputError: the recipe asks for what the file's network or pipeline cannot do, or the file
            for weights that would have to be fetched.
    """
    if section.tensorboard and importlib.util.find_spec("tensorboard") is None:
        raise InputError(
            "train_segmenter.tensorboard: TensorBoard is not installed; run `make tensorboard`, or "
            "write false"
        )
    cfg = load_config(root / section.config)
    check_keys(cfg, section.config)
    device = choose_device(section.device, "train_segmenter.device")
    refuse_downloads(cfg.model, section.config)
    set_class_count(cfg.model, class_count)
    ignore_index = ignore_value(label_dtype(class_count))
    if ignore_index != IGNORE:
        use_16_bits(cfg)
    cfg.custom_hooks = cfg.get("custom_hooks", [])
    if reliability and section.reliability != "none":
        use_reliability(cfg, section)
    else:
        drop_type(cfg.train_pipeline, "LoadReliability")
    set_optimizer(cfg, section, device)
    workers = {
        "num_workers": section.num_workers,
        "persistent_workers": section.num_workers > 0,
    }
    cfg.train_dataloader = {
        "batch_size": section.batch_size,
        "sampler": {"type": "InfiniteSampler", "shuffle": True},
        "dataset": {**train, "pipeline": cfg.train_pipeline},
        **workers,
    }
    never = section.iterations + 1  # the loop's own validation; see ValidationHook
    cfg.train_cfg = {
        "type": "IterBasedTrainLoop",
        "max_iters": section.iterations,
        "val_begin": never,
        "val_interval": never,
    }
    if val is not None:
        cfg.val_dataloader = {
            "batch_size": 1,  # images may differ in size
            "sampler": {"type": "DefaultSampler", "shuffle": False},
            "dataset": {**val, "pipeline": cfg.test_pipeline, "test_mode": True},
            **workers,
        }
        cfg.val_cfg = {"type": "ValLoop"}
        cfg.val_evaluator = {
            "type": "IoUMetric",
            "iou_metrics": ["mIoU"],
            "ignore_index": ignore_index,
        }
        watching = {"keep": section.keep, "patience": section.patience}
        interval = section.checkpoint_interval
        cfg.custom_hooks.append({"type": "ValidationHook", "interval": interval, **watching})
    if section.ema:
        kept = section.ema ** (1 / section.accumulation)  # the hook averages after each batch
        cfg.custom_hooks.append({"type": "EMAHook", "momentum": 1 - kept})
    cfg.custom_hooks.append({"type": "DivergenceHook"})
    cfg.custom_hooks.append({"type": "IterationSeedHook", "seed": section.seed})
    cfg.default_hooks = {
        "logger": None,  # the progress bar and training.json take its place
        "checkpoint": {
            "type": "CheckpointHook",
            "by_epoch": False,
            "interval": section.checkpoint_interval,
            "max_keep_ckpts": 2,  # the older one is removed before the new one is written
        },
    }
    cfg.visualizer = {"type": "Visualizer", "vis_backends": []}
    cfg.log_processor = {"by_epoch": False}
    cfg.log_level = "ERROR"
    cfg.default_scope = "mmseg"
    cfg.randomness = {"seed": section.seed, "deterministic": section.deterministic}
    cfg.device = device
    return cfg


def use_reliability(cfg: Config, section: TrainSegmenter) -> None:
    """Put the file's network into the segmentor of ``section.reliability``, in place.

    Raises:
        InputError: the network is no `EncoderDecoder`, or the pipeline does not carry the maps.
    """
    method, knobs = section.reliability, section.knobs
    key = f"train_segmenter.reliability: {method}"
    if cfg.model.type not in SINGLE_NETWORKS:
        raise InputError(
            f"{key} needs an EncoderDecoder; the model of {section.config} is a {cfg.model.type}; "
            "change the config, or choose none"
        )
    steps = [step.type for step in cfg.train_pipeline]
    loader = next((at for at, name in enumerate(steps) if name in LABEL_LOADERS), len(steps))
    if "LoadReliability" not in steps[loader:] or steps[-1] != "PackReliabilityInputs":
        raise InputError(
            f"{key} needs the reliability maps, which train_pipeline of {section.config} does not "
            'carry; add dict(type="LoadReliability") after LoadAnnotations, and end with '
            'dict(type="PackReliabilityInputs"), or choose none'
        )
    if "Albu" in steps:
        raise InputError(
            f"{key}: Albu, in train_pipeline of {section.config}, changes image and label map and "
            "leaves the reliability map as it was; use MMSegmentation's own transforms, or choose "
            "none"
        )
    for step in cfg.train_pipeline:
        if step.type == "Pad":
            step.type = "PadReliability"
    preprocessor = cfg.model.pop("data_preprocessor", ConfigDict(type="SegDataPreProcessor"))
    if preprocessor.type == "SegDataPreProcessor":
        preprocessor.type = "ReliabilityDataPreProcessor"
    hook = {
        "type": "ReliabilityHook",
        "warmup": section.warmup,
        "fade": section.fade,
        "interval": max(1, section.iterations // CURVE_POINTS),
        "seed": section.seed,
    }
    if method == "co_training":
        hook |= {name: knobs.pop(name) for name in ("cross_from", "classmix", "classmix_from")}
        cfg.model.type = "EncoderDecoder"
        cfg.model = ConfigDict(type="CoTrainingSegmentor", segmentor=cfg.model, **knobs)
    else:
        cfg.model.update(type="ReliabilityEncoderDecoder", method=method, **knobs)
    if method == "urn":
        for step in cfg.train_pipeline:
            if step.type == "LoadReliability":
                step.source = "uncertainty"
    cfg.model.data_preprocessor = preprocessor
    cfg.custom_hooks.append(hook)


def set_optimizer(cfg: Config, section: TrainSegmenter, device: str) -> None:
    """Learning rate, number type, accumulation and the schedule's end, in place.

    Raises:
        InputError: float16 on a CPU.
    """
    if section.dtype == "float16" and device == "cpu":
        raise InputError(
            "train_segmenter.dtype: float16 is for GPUs, and the training would run on the CPU "
            "here; choose bfloat16 or float32"
        )
    cfg.optim_wrapper.update(
        **OPTIM_WRAPPERS[section.dtype], accumulative_counts=section.accumulation
    )
    cfg.optim_wrapper.optimizer.lr = section.learning_rate
    for scheduler in cfg.param_scheduler:
        scheduler.setdefault("end", section.iterations)


def check_keys(cfg: Config, config: str) -> None:
    """Whether a config file says what a training needs; one scheduler becomes a list of one.

    Raises:
        InputError: a key is missing, or ``load_from`` is there.
    """
    missing = [key for key in NEEDED_KEYS if key not in cfg]
    if missing:
        raise InputError(
            f"{config}: {', '.join(missing)} missing; mmseg_configs/README.md says what a config "
            "needs"
        )
    if cfg.get("load_from"):
        raise InputError(
            f"{config}: load_from: {cfg.load_from} would not be loaded; remove it and use "
            "train_segmenter.init_from"
        )
    if isinstance(cfg.param_scheduler, dict):
        cfg.param_scheduler = [cfg.param_scheduler]


def refuse_downloads(model: dict[str, Any], config: str) -> None:
    """Raise `InputError` where a config would fetch a backbone's weights from the network."""
    if str(model.get("type")).endswith("TIMMBackbone") and model.get("pretrained", True):
        raise InputError(
            f"{config}: TIMMBackbone would fetch its weights from the network; write pretrained: "
            "False, and name a file of yours as checkpoint_path if you have one"
        )
    for key, value in model.items():
        if key in ("pretrained", "checkpoint") and "://" in str(value):
            raise InputError(
                f"{config}: {key}: {value} would be fetched from the network; fetch the file "
                "yourself and name its path, or write None"
            )
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, dict):
                refuse_downloads(part, config)


def drop_type(items: list[dict[str, Any]], name: str) -> None:
    """Remove the entries of this type from a config's list, in place."""
    items[:] = [item for item in items if item["type"] != name]


def set_class_count(model: dict[str, Any], count: int) -> None:
    """Set ``num_classes`` wherever a model's config has it: decode head and auxiliary heads."""
    for key, value in model.items():
        if key == "num_classes":
            model[key] = count
        for part in value if isinstance(value, list | tuple) else [value]:
            if isinstance(part, dict):
                set_class_count(part, count)


def use_16_bits(cfg: Config) -> None:
    """Let a config for 8-bit labels read 16-bit ones, where 65535 is ignored, in place.

    The stock loader casts labels to 8 bits; heads, cropping, rotating and padding know 255.

    Raises:
        InputError: a transform can fill with labels of 8 bits only.
    """
    heads = [cfg.model.decode_head]
    auxiliary = cfg.model.get("auxiliary_head") or []
    heads += [auxiliary] if isinstance(auxiliary, dict) else auxiliary
    for head in heads:
        head.ignore_index = IGNORE_16_BIT
    if "data_preprocessor" in cfg.model:
        cfg.model.data_preprocessor.seg_pad_val = IGNORE_16_BIT
    for step in [*cfg.train_pipeline, *cfg.test_pipeline]:
        if step.type == "LoadAnnotations":
            step.type = "LoadLabelMap"
        elif step.type in IGNORE_KEYS:
            step[IGNORE_KEYS[step.type]] = IGNORE_16_BIT
        elif step.type == "RandomCutOut" and step.get("seg_fill_in") is not None:
            raise InputError(
                f"train_pipeline: RandomCutOut fills with the label {step.seg_fill_in}, which is a "
                "class where there are more than 255, and takes none of 16 bits; remove its "
                "seg_fill_in, or the step"
            )
        elif step.type == "Pad":
            step.pad_val = {**step.get("pad_val", {"img": 0}), "seg": IGNORE_16_BIT}
