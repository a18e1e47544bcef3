"""DeepLabV3+ with a ResNet-50 for Cityscapes' 19 classes.

Generated scenes are 512 pixels high and real ones 1024: both are brought to 512.
"""

_base_ = ["../voc12/deeplabv3plus_r50-d8_voc12-512x512.py"]

model = dict(decode_head=dict(num_classes=19), auxiliary_head=dict(num_classes=19))
