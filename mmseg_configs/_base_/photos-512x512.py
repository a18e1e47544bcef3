"""What trainings on photographs share: pipelines that carry the reliability maps, and the recipe.

Photographs of any size, generated or real, are scaled around a shorter side of 512 pixels and
cropped to 512x512. The learning rate, the iterations, the batch size and the number type are
parameters of the run; a scheduler that names no end goes on to the last iteration.
"""

custom_imports = dict(imports=["mmseg_configs.reliability"], allow_failed_imports=False)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="LoadReliability"),
    dict(type="RandomResize", scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(512, 512), cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackReliabilityInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(2048, 512), keep_ratio=True),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]

optim_wrapper = dict(optimizer=dict(type="SGD", momentum=0.9, weight_decay=0.0001))
param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=0.0001, by_epoch=False)]
