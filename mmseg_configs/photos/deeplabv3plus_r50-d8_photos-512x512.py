"""DeepLabV3+ with a ResNet-50 from scratch, for photographs of 512x512 pixels.

What differs from MMSegmentation's own: weights are not fetched, batches are normalised on one GPU,
and losses and preprocessing know the reliability maps.
"""

_base_ = ["mmseg::_base_/models/deeplabv3plus_r50-d8.py"]

custom_imports = dict(imports=["mmseg_configs.reliability"], allow_failed_imports=False)

norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    data_preprocessor=dict(type="ReliabilityDataPreProcessor", size=(512, 512)),
    pretrained=None,
    backbone=dict(norm_cfg=norm_cfg),
    decode_head=dict(
        norm_cfg=norm_cfg,
        loss_decode=dict(_delete_=True, type="ReliabilityCrossEntropy"),
    ),
    auxiliary_head=dict(
        norm_cfg=norm_cfg,
        loss_decode=dict(_delete_=True, type="ReliabilityCrossEntropy", loss_weight=0.4),
    ),
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

# The learning rate, the iterations and the batch size are parameters of the run.
optim_wrapper = dict(
    optimizer=dict(type="SGD", momentum=0.9, weight_decay=0.0001),
)
param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=0.0001, by_epoch=False)]
