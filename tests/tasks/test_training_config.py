"""The config of a training: what the parameters make of a config file."""

import inspect
import shutil
from collections.abc import Callable
from math import log
from pathlib import Path

import pytest
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner

from tasks.params import InputError, Params
from tasks.records import write_json
from tasks.segmentation import build_runner
from tasks.segmenter import build_network
from tasks.training_config import build_config, load_config, refuse_downloads, use_16_bits

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    path
    for path in (ROOT / "mmseg_configs").glob("*/*.py")
    if path.parent.name not in ("_base_", "reliability")
)
KEYS = {
    *inspect.signature(Runner).parameters,
    "custom_imports",
    "norm_cfg",
    "train_pipeline",
    "test_pipeline",
}
"""What a config of ours may say at its top level: MMEngine takes any other key in silence."""

MakeParams = Callable[..., Params]
MakeConfig = Callable[..., Config]


def shrink(steps: list[ConfigDict]) -> None:
    """Bring what a pipeline scales and crops to 32 pixels, in place."""
    for step in steps:
        for key, value in {"scale": (64, 32), "crop_size": (32, 32)}.items():
            if key in step:
                step[key] = value


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_our_configs_have_no_misspelt_key_and_train(
    toy_params: Callable[..., Params], training_root: Path, tmp_path: Path, path: Path
) -> None:
    """Other keys than the top-level ones end up as arguments, which are checked where they go."""
    assert set(load_config(path)) <= KEYS
    changes = {"config": str(path), "iterations": 1, "batch_size": 2, "dtype": "float32"}
    section = toy_params({f"train_segmenter.{key}": value for key, value in changes.items()})
    count = load_config(path).model.decode_head.num_classes
    folder = tmp_path / "dataset"
    folder.mkdir()
    shutil.copy(training_root / "data/dataset/index.parquet", folder)
    write_json(folder / "classes.json", [f"class {number}" for number in range(count)])
    sets = [
        {"type": "ShardDataset", "folder": str(folder), "split": split, "root": str(training_root)}
        for split in ("train", "val")
    ]
    cfg = build_config(section.train_segmenter, *sets, count, reliability=True, root=ROOT)
    shrink(cfg.train_pipeline)
    shrink(cfg.test_pipeline)
    cfg.model.data_preprocessor.size = (32, 32)
    cfg.default_hooks.checkpoint = None
    runner = build_runner(cfg, tmp_path, path.stem, None)
    runner.train()
    loss = runner.message_hub.get_scalar("train/loss").current()
    assert 0.5 * log(count) < loss < 5 * log(count)  # untrained heads know nothing
    head = runner.model.decode_head
    assert (head.num_classes, head.ignore_index) == (count, 65535 if count > 255 else 255)


def test_a_config_holds_the_recipe(make_config: MakeConfig) -> None:
    cfg = make_config(learning_rate=0.5, batch_size=3, iterations=9)
    assert cfg.optim_wrapper.optimizer.lr == 0.5
    assert cfg.train_dataloader.batch_size == 3
    assert [scheduler.end for scheduler in cfg.param_scheduler] == [2, 9]
    assert [head.num_classes for head in (cfg.model.decode_head, cfg.model.auxiliary_head)] == [
        3,
        3,
    ]


def types(items: list[ConfigDict]) -> list[str]:
    return [item["type"] for item in items]


@pytest.mark.parametrize("reliability", ["none", "ignore_band", "weighted", "urn", "co_training"])
def test_the_files_network_goes_into_the_methods_segmentor(
    make_config: MakeConfig, reliability: str
) -> None:
    scalings = {"extract_masks.response_scalings": [0.5, 1.0, 2.0]}
    cfg = make_config(**{"reliability": reliability, "co_training.classmix": 0.25}, others=scalings)
    steps = types(cfg.train_dataloader.dataset.pipeline)
    used = reliability != "none"
    assert steps.count("LoadReliability") == used
    assert types(cfg.custom_hooks).count("ReliabilityHook") == used
    assert build_network(cfg).num_classes == 3
    if reliability == "co_training":
        assert cfg.model.type == "CoTrainingSegmentor"
        assert cfg.model.segmentor.type == "EncoderDecoder"
        assert "data_preprocessor" not in cfg.model.segmentor
        assert cfg.custom_hooks[0]["classmix"] == 0.25
    elif used:
        sources = [step.get("source") for step in cfg.train_pipeline]
        assert sources.count("uncertainty") == (reliability == "urn")
        assert (cfg.model.type, cfg.model.method) == ("ReliabilityEncoderDecoder", reliability)
    else:
        assert cfg.model.type == "EncoderDecoder"
    assert cfg.model.data_preprocessor.type == "ReliabilityDataPreProcessor"


def test_a_method_takes_its_knobs_and_the_schedule(make_config: MakeConfig) -> None:
    cfg = make_config(
        **{
            "reliability": "co_training",
            "co_training.quantile": 0.4,
            "co_training.sure": 0.7,
            "co_training.cross_from": 0.4,
            "co_training.border_weight": 0.3,
            "co_training.confidence": 0.8,
            "co_training.classmix": 0.7,
            "co_training.classmix_from": 0.6,
            "warmup": 0.2,
            "fade": 0.1,
            "iterations": 200,
            "seed": 5,
        }
    )
    model = cfg.model
    assert (model.quantile, model.border_weight, model.confidence) == (0.4, 0.3, 0.8)
    assert model.sure == 0.7
    assert cfg.custom_hooks[0] == {
        "type": "ReliabilityHook",
        "warmup": 0.2,
        "fade": 0.1,
        "cross_from": 0.4,
        "classmix": 0.7,
        "classmix_from": 0.6,
        "interval": 4,
        "seed": 5,
    }


def test_a_training_without_maps_uses_none(make_config: MakeConfig) -> None:
    cfg = make_config(mapped=False, reliability="co_training")
    assert cfg.model.type == "EncoderDecoder"
    assert "LoadReliability" not in types(cfg.train_pipeline)
    assert "ReliabilityHook" not in types(cfg.custom_hooks)


def test_a_stock_preprocessor_learns_to_pad_the_maps(
    make_config: MakeConfig, training_root: Path
) -> None:
    text = (training_root / "tiny.py").read_text()
    stock = text.replace("ReliabilityDataPreProcessor", "SegDataPreProcessor")
    (training_root / "stock.py").write_text(stock)
    cfg = make_config(config="stock.py")
    assert cfg.model.data_preprocessor.type == "ReliabilityDataPreProcessor"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"EncoderDecoder"', '"CascadeEncoderDecoder"', r"of wrong\.py is a CascadeEncoderDecoder"),
        ('dict(type="LoadReliability"),', "", r"train_pipeline of wrong\.py does not carry"),
        ("PackReliabilityInputs", "PackSegInputs", r"train_pipeline of wrong\.py does not carry"),
        ('"PhotoMetricDistortion"', '"Albu", transforms=[]', r"Albu, in train_pipeline of wrong"),
        ("model = dict(", 'model = dict(pretrained="open-mmlab://r18",', "would be fetched from"),
        (
            "loss = ",
            'load_from = "a.pth"; loss = ',
            r"wrong\.py: load_from: a\.pth would not .*init_f",
        ),
        ("optim_wrapper", "optimiser", r"wrong\.py: optim_wrapper missing; mmseg_configs/README"),
        ("param_scheduler", "schedule", r"wrong\.py: param_scheduler missing"),
        ("test_pipeline", "val_pipeline", r"wrong\.py: test_pipeline missing"),
    ],
)
def test_a_file_that_cannot_do_it_is_refused(
    make_config: MakeConfig, training_root: Path, old: str, new: str, message: str
) -> None:
    text = (training_root / "tiny.py").read_text()
    assert old in text
    (training_root / "wrong.py").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message):
        make_config(config="wrong.py")


def test_one_scheduler_needs_no_list(make_config: MakeConfig, training_root: Path) -> None:
    start, end = (training_root / "tiny.py").read_text().split("param_scheduler")[0], "by_epoch"
    one = f'{start}param_scheduler = dict(type="PolyLR", {end}=False)'
    (training_root / "one.py").write_text(one)
    (scheduler,) = make_config(config="one.py", iterations=9).param_scheduler
    assert (scheduler.type, scheduler.end) == ("PolyLR", 9)


def test_timm_fetches_nothing() -> None:
    backbone = {"type": "mmseg.TIMMBackbone", "model_name": "resnet18"}
    refuse_downloads({"backbone": {**backbone, "pretrained": False}}, "mine.py")
    for given in ({}, {"pretrained": True}):
        with pytest.raises(InputError, match=r"mine\.py: TIMMBackbone would fetch"):
            refuse_downloads({"backbone": {**backbone, **given}}, "mine.py")


def test_padding_learns_to_pad_the_maps(make_config: MakeConfig, training_root: Path) -> None:
    text = (training_root / "tiny.py").read_text()
    padded = text.replace('dict(type="PhotoMetricDistortion")', 'dict(type="Pad", size=(16, 16))')
    (training_root / "padded.py").write_text(padded)
    assert "PadReliability" in types(make_config(config="padded.py").train_pipeline)
    alone = make_config(config="padded.py", reliability="none").train_pipeline
    assert "Pad" in types(alone)


def test_weights_from_a_file_are_the_users_own() -> None:
    refuse_downloads(
        {"backbone": {"init_cfg": {"type": "Pretrained", "checkpoint": "r50.pth"}}}, ""
    )
    heads = [{"init_cfg": {"type": "Pretrained", "checkpoint": "https://example.org/r50.pth"}}]
    with pytest.raises(InputError, match=r"mine\.py: checkpoint: https://example\.org/r50\.pth"):
        refuse_downloads({"auxiliary_head": heads}, "mine.py")


@pytest.mark.parametrize(
    ("dtype", "wrapper"), [("float32", "OptimWrapper"), ("bfloat16", "BFloat16OptimWrapper")]
)
def test_the_number_type_chooses_the_optimizers_wrapper(
    make_config: MakeConfig, dtype: str, wrapper: str
) -> None:
    cfg = make_config(dtype=dtype, accumulation=2)
    assert (cfg.optim_wrapper.type, cfg.optim_wrapper.accumulative_counts) == (wrapper, 2)
    assert cfg.optim_wrapper.optimizer.type == "AdamW"


def test_float16_is_for_gpus(make_config: MakeConfig) -> None:
    with pytest.raises(InputError, match="float16 is for GPUs"):
        make_config(dtype="float16", device="cpu")


def test_hooks_come_with_their_parameters(make_config: MakeConfig) -> None:
    cfg = make_config(reliability="none", ema=0.99, keep="best", patience=3)
    always = ["DivergenceHook", "IterationSeedHook"]
    assert types(cfg.custom_hooks) == ["ValidationHook", "EMAHook", *always]
    validation, average, *_ = cfg.custom_hooks
    expected = {"type": "ValidationHook", "interval": 2, "keep": "best", "patience": 3}
    assert validation == expected
    assert average["momentum"] == pytest.approx(0.01)
    assert types(make_config(reliability="none").custom_hooks) == ["ValidationHook", *always]


def test_the_average_keeps_its_share_in_a_step_of_several_batches(make_config: MakeConfig) -> None:
    cfg = make_config(reliability="none", ema=0.9, accumulation=2, checkpoint_interval=2)
    (average,) = (hook for hook in cfg.custom_hooks if hook["type"] == "EMAHook")
    assert (1 - average["momentum"]) ** 2 == pytest.approx(0.9)


def test_more_than_255_label_values_are_read_in_16_bits(
    toy_params: Callable[..., Params], training_root: Path
) -> None:
    section = toy_params().train_segmenter
    cfg = build_config(section, {}, {}, 256, reliability=True, root=training_root)
    heads = (cfg.model.decode_head, cfg.model.auxiliary_head)
    assert [(head.num_classes, head.ignore_index) for head in heads] == [(256, 65535)] * 2
    assert cfg.model.data_preprocessor.seg_pad_val == 65535
    assert cfg.val_evaluator.ignore_index == 65535
    for pipeline in (cfg.train_pipeline, cfg.test_pipeline):
        assert types(pipeline)[1] == "LoadLabelMap"
    in_8_bits = build_config(section, {}, {}, 255, reliability=True, root=training_root)
    assert types(in_8_bits.train_pipeline)[1] == "LoadAnnotations"
    assert in_8_bits.val_evaluator.ignore_index == 255
    assert "ignore_index" not in in_8_bits.model.decode_head


def test_transforms_learn_which_label_is_ignored_in_16_bits() -> None:
    steps = [
        {"type": "RandomCrop", "crop_size": (8, 8)},
        {"type": "RandomRotate", "prob": 1.0, "degree": 5},
        {"type": "Pad", "size": (8, 8)},
        {"type": "Pad", "size": (8, 8), "pad_val": {"img": 7, "seg": 255}},
    ]
    model = {"decode_head": {}, "auxiliary_head": [{}, {}]}
    cfg = Config({"model": model, "train_pipeline": steps, "test_pipeline": []})
    use_16_bits(cfg)
    crop, rotate, pad, grey = cfg.train_pipeline
    assert crop.ignore_index == rotate.seg_pad_val == 65535
    assert (pad.pad_val, grey.pad_val) == ({"img": 0, "seg": 65535}, {"img": 7, "seg": 65535})
    assert [head.ignore_index for head in cfg.model.auxiliary_head] == [65535] * 2


def test_a_transform_that_would_paint_a_class_in_16_bits_is_refused() -> None:
    step = {"type": "RandomCutOut", "prob": 1.0, "n_holes": 1, "cutout_shape": (2, 2)}
    model = {"decode_head": {}}
    images_only = Config({"model": model, "train_pipeline": [step], "test_pipeline": []})
    use_16_bits(images_only)
    step |= {"seg_fill_in": 255}
    with pytest.raises(InputError, match="RandomCutOut fills with the label 255, which is a class"):
        use_16_bits(Config({"model": model, "train_pipeline": [step], "test_pipeline": []}))
