"""DeepLabV3+ with a ResNet-50 for ImageNet-S's 919 classes and the background, in 16 bits."""

_base_ = ["../voc12/deeplabv3plus_r50-d8_voc12-512x512.py"]

model = dict(decode_head=dict(num_classes=920), auxiliary_head=dict(num_classes=920))
