"""DeepLabV3+ with a ResNet-101, the network of BECO's measurements, for PASCAL VOC."""

_base_ = ["./deeplabv3plus_r50-d8_voc12-512x512.py"]

model = dict(backbone=dict(depth=101))
