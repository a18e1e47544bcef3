"""The storybook network for the streets' six classes, none of which is a background."""

_base_ = ["./deeplabv3plus_r18-d8_storybook-64x64.py"]

model = dict(decode_head=dict(num_classes=6), auxiliary_head=dict(num_classes=6))
