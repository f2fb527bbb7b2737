"""torchvision's weights: ImageNet classifiers and COCO segmentation networks."""

from encnet_jax.weights.published import Published, register

_ADDRESS = "https://download.pytorch.org/models/"
_SOURCE = (
    "torchvision 0.29.1, torchvision/models (weights enums: url, _metrics, _file_size)"
)
_LICENCE = "not stated (code: BSD-3-Clause; training data has terms of its own)"
# (name here, file, MiB, top-1 on ImageNet's validation set).
_CLASSIFIERS = (
    ("resnet18", "resnet18-f37072fd", 44.661, 69.758),
    ("resnet34", "resnet34-b627a593", 83.275, 73.314),
    ("resnet50", "resnet50-0676ba61", 97.781, 76.130),
    ("resnet101", "resnet101-63fe2227", 170.511, 77.374),
    ("resnet152", "resnet152-394f9c45", 230.434, 78.312),
    ("resnet50_v2", "resnet50-11ad3fa6", 97.79, 80.858),
    ("resnet101_v2", "resnet101-cd907fc2", 170.53, 81.886),
    ("resnet152_v2", "resnet152-f82ba261", 230.474, 82.284),
)
# (name, file, MiB, mean IoU, pixel accuracy).
_SEGMENTATION = (
    ("fcn_resnet50", "fcn_resnet50_coco-1167a1af", 135.009, 60.5, 91.4),
    ("fcn_resnet101", "fcn_resnet101_coco-7ecb50ca", 207.711, 63.7, 91.9),
    ("deeplabv3_resnet50", "deeplabv3_resnet50_coco-cd0a2569", 160.515, 66.4, 92.4),
    ("deeplabv3_resnet101", "deeplabv3_resnet101_coco-586e9e4e", 233.217, 67.4, 92.4),
)
_STEM = {"model.stem": "conv7", "model.stem_width": 64, "model.avg_down": False}


def _classifier(name: str, file: str, size_mib: float, top1: float) -> Published:
    return Published(
        name=f"torchvision:{name}",
        address=f"{_ADDRESS}{file}.pth",
        family="torchvision",
        fields=_STEM | {"model.backbone": name.removesuffix("_v2")},
        licence=_LICENCE,
        score=f"{top1} % top-1, ImageNet-1K val, centre crop",
        source=_SOURCE,
        digest=file.rpartition("-")[2],
        size_mib=size_mib,
    )


def _segmenter(name: str, file: str, size_mib: float, iou: float, accuracy: float):
    model, _, backbone = name.partition("_")
    return Published(
        name=f"torchvision:{name}",
        address=f"{_ADDRESS}{file}.pth",
        family="torchvision_segmentation",
        fields=_STEM
        | {
            "architecture": "release",
            "model.name": model,
            "model.backbone": backbone,
            "model.align_corners": False,
        },
        licence=_LICENCE,
        score=f"{iou} % mean IoU, {accuracy} % pixel accuracy, COCO val2017 in VOC"
        " classes, short side 520, single scale",
        source=_SOURCE,
        digest=file.rpartition("-")[2],
        size_mib=size_mib,
        dataset="coco_voc",
    )


_VGG = Published(
    name="torchvision:vgg16",
    address=f"{_ADDRESS}vgg16-397923af.pth",
    family="torchvision_vgg",
    fields={"model.backbone": "vgg16"},
    licence=_LICENCE,
    score="71.592 % top-1, ImageNet-1K val, centre crop",
    source=_SOURCE,
    digest="397923af",
    size_mib=527.796,
)

register(
    _VGG,
    *(_classifier(*row) for row in _CLASSIFIERS),
    *(_segmenter(*row) for row in _SEGMENTATION),
)
