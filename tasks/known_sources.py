"""What the presets need and nobody may ship: what to fetch, on whose terms, and where to put it.

Keys are the values that stand in the presets. `tasks.labelled_trees` brings the trees into the form
of a labelled set.
"""

_VOC = (
    "fetch VOCtrainval_11-May-2012.tar of PASCAL VOC 2012 from "
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (its terms stand there) and run "
    "`tar -xf VOCtrainval_11-May-2012.tar && python -m tasks.labelled_trees voc12 "
    "VOCdevkit/VOC2012 data/voc12/{0} --split {0}`"
)
_CITYSCAPES = (
    "read the licence of Cityscapes, https://www.cityscapes-dataset.com/license/, make an account "
    "there and run `pip install cityscapesscripts && csDownload leftImg8bit_trainvaltest.zip "
    "gtFine_trainvaltest.zip && unzip -d data/cityscapes leftImg8bit_trainvaltest.zip && unzip -o "
    "-d data/cityscapes gtFine_trainvaltest.zip`"
)
_IMAGENET_S = (
    "get ImageNet's images on the terms of https://www.image-net.org/download and run `git clone "
    "https://github.com/LUSSeg/ImageNet-S`, in ImageNet-S/datapreparation `bash "
    "data_preparation.sh IMAGENET SAVE {0} false` with your folders for IMAGENET and SAVE, and "
    "here `python -m tasks.labelled_trees imagenet_s SAVE/ImageNetS{0} data/imagenet_s/{0}/val "
    "--split validation`"
)

SOURCES = {
    "data/voc12/val": _VOC.format("val"),
    "data/voc12/train": _VOC.format("train"),
    "data/cityscapes/leftImg8bit/train": _CITYSCAPES,
    "data/cityscapes/val": (
        f"{_CITYSCAPES} and `python -m tasks.labelled_trees cityscapes data/cityscapes "
        "data/cityscapes/val --split val`"
    ),
    **{f"data/imagenet_s/{count}/val": _IMAGENET_S.format(count) for count in (50, 300, 919)},
}
"""Path in a preset -> how to get what belongs there."""


def how_to_get(value: str) -> str:
    """The end of a message about what is missing at a path of a preset; "" at any other path."""
    return f"; to get it, {SOURCES[value]}" if value in SOURCES else ""
