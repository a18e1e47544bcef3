"""The presets of this repository: those of storybook, and the real ones by their classes."""

REAL = {
    "voc12": 20,
    "cityscapes": 19,
    "imagenet_s50": 50,
    "imagenet_s300": 300,
    "imagenet_s919": 919,
}

STORYBOOKS = ("storybook", "storybook_finetune", "storybook_pretrain", "storybook_street")
