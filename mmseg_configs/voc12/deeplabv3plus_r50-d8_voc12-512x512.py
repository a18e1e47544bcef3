"""DeepLabV3+ with a ResNet-50 for PASCAL VOC's 20 classes and the background.

The backbone begins with random weights: name a file under ``pretrained`` to begin with others.
"""

_base_ = ["mmseg::_base_/models/deeplabv3plus_r50-d8.py", "../_base_/photos-512x512.py"]

model = dict(
    data_preprocessor=dict(type="ReliabilityDataPreProcessor", size=(512, 512)),
    pretrained=None,
    decode_head=dict(
        num_classes=21,
        loss_decode=dict(_delete_=True, type="ReliabilityCrossEntropy"),
    ),
    auxiliary_head=dict(
        num_classes=21,
        loss_decode=dict(_delete_=True, type="ReliabilityCrossEntropy", loss_weight=0.4),
    ),
)
