"""DeepLabV3+ with a slim ResNet-18 from scratch for CamVid's 11 classes at 240x180 pixels.

Labels are 0 to 10, and 255 where CamVid has 11, unlabelled.
"""

_base_ = ["../storybook/deeplabv3plus_r18-d8_storybook-64x64.py"]

model = dict(
    data_preprocessor=dict(size=(180, 240)),
    decode_head=dict(num_classes=11),
    auxiliary_head=dict(num_classes=11),
)

test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(240, 180), keep_ratio=True),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="LoadReliability"),
    dict(type="Resize", scale=(240, 180), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackReliabilityInputs"),
]
