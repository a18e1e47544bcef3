"""DeepLabV3+ with a slim ResNet-18 of three stages, from scratch, for images of 64x64 pixels.

Measured on two CPU cores: see benchmarks/README.md.
"""

_base_ = ["mmseg::_base_/models/deeplabv3plus_r50-d8.py"]

custom_imports = dict(imports=["mmseg_configs.reliability"], allow_failed_imports=False)

norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    data_preprocessor=dict(type="ReliabilityDataPreProcessor", size=(64, 64)),
    pretrained=None,
    backbone=dict(
        depth=18,
        num_stages=3,
        out_indices=(0, 1, 2),
        stem_channels=32,
        base_channels=32,
        strides=(1, 2, 1),
        dilations=(1, 1, 2),
        norm_cfg=norm_cfg,
    ),
    decode_head=dict(
        in_channels=128,
        in_index=2,
        channels=64,
        dilations=(1, 2, 4, 6),
        c1_in_channels=32,
        c1_channels=24,
        num_classes=9,
        norm_cfg=norm_cfg,
        loss_decode=dict(_delete_=True, type="ReliabilityCrossEntropy"),
    ),
    auxiliary_head=dict(
        in_channels=64,
        in_index=1,
        channels=32,
        num_classes=9,
        norm_cfg=norm_cfg,
        loss_decode=dict(_delete_=True, type="ReliabilityCrossEntropy", loss_weight=0.4),
    ),
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="LoadReliability"),
    dict(type="RandomFlip", prob=0.5),
    dict(
        type="PhotoMetricDistortion",
        brightness_delta=16,
        contrast_range=(0.8, 1.2),
        saturation_range=(0.8, 1.2),
        hue_delta=6,
    ),
    dict(type="PackReliabilityInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]

# The learning rate, the iterations and the batch size are parameters of the run; a scheduler that
# names no end goes on to the last iteration.
optim_wrapper = dict(
    optimizer=dict(type="AdamW", weight_decay=0.01, fused=True),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.1, end=30, by_epoch=False),
    dict(type="PolyLR", power=0.9, eta_min=0, by_epoch=False),
]
