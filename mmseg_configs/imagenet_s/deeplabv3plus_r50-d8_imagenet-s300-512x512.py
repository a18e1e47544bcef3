"""DeepLabV3+ with a ResNet-50 for ImageNet-S's 300 classes and the background."""

_base_ = ["../voc12/deeplabv3plus_r50-d8_voc12-512x512.py"]

model = dict(decode_head=dict(num_classes=301), auxiliary_head=dict(num_classes=301))
