"""SegFormer with MiT-B2 for PASCAL VOC; trained with AdamW, for which 0.00006 is a usual rate."""

_base_ = ["mmseg::_base_/models/segformer_mit-b0.py", "../_base_/photos-512x512.py"]

model = dict(
    data_preprocessor=dict(type="ReliabilityDataPreProcessor", size=(512, 512)),
    backbone=dict(embed_dims=64, num_layers=[3, 4, 6, 3]),
    decode_head=dict(
        in_channels=[64, 128, 320, 512],
        num_classes=21,
        loss_decode=dict(_delete_=True, type="ReliabilityCrossEntropy"),
    ),
)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(
        custom_keys=dict(
            pos_block=dict(decay_mult=0.0),
            norm=dict(decay_mult=0.0),
            head=dict(lr_mult=10.0),
        )
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, end=1500, by_epoch=False),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False),
]
