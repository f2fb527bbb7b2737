"""OpenMMLab's weights: ResNet-v1c backbones, and networks of mmsegmentation."""

from encnet_jax.weights.published import Published, register

_BACKBONES = "https://download.openmmlab.com/pretrain/third_party/"
_NETWORKS = "https://download.openmmlab.com/mmsegmentation/v0.5/"
_SOURCE = "mmsegmentation, configs/{}/metafile.yaml"
_STEM = {"model.stem": "deep", "model.stem_width": 32, "model.avg_down": False}
_BACKBONE_FILES = (
    "resnet18_v1c-b5776b93",
    "resnet50_v1c-2cccc1ad",
    "resnet101_v1c-e67eebb6",
)
_ADE = "ADE20K val, whole images, short side 512"
_CITY = "Cityscapes val, whole images"
# (name here, data set, training, rest of the file's name, single-scale and
# multi-scale flipped mean IoU; None: see the source).
_FILES = (
    (
        "encnet_r50_ade20k",
        "ade20k",
        "encnet_r50-d8_512x512_160k_ade20k",
        "20200622_101059-b2db95e0",
        40.10,
        41.71,
    ),
    (
        "encnet_r101_ade20k",
        "ade20k",
        "encnet_r101-d8_512x512_160k_ade20k",
        "20200622_073348-7989641f",
        42.61,
        44.01,
    ),
    (
        "encnet_r50_cityscapes",
        "cityscapes",
        "encnet_r50-d8_512x1024_80k_cityscapes",
        "20200622_003554-fc5c5624",
        77.94,
        79.13,
    ),
    (
        "encnet_r101_cityscapes",
        "cityscapes",
        "encnet_r101-d8_512x1024_80k_cityscapes",
        "20200622_003555-1de64bec",
        78.55,
        79.47,
    ),
    (
        "fcn_r50_ade20k",
        "ade20k",
        "fcn_r50-d8_512x512_160k_ade20k",
        "20200615_100713-4edbc3b4",
        None,
        None,
    ),
    (
        "pspnet_r50_ade20k",
        "ade20k",
        "pspnet_r50-d8_512x512_160k_ade20k",
        "20200615_184358-1890b0bd",
        42.48,
        None,
    ),
    (
        "deeplabv3_r50_ade20k",
        "ade20k",
        "deeplabv3_r50-d8_512x512_160k_ade20k",
        "20200615_123227-5d0ee427",
        42.66,
        None,
    ),
)


def _backbone(file: str) -> Published:
    name, _, digest = file.partition("-")
    return Published(
        name=f"mmseg:{name}",
        address=f"{_BACKBONES}{file}.pth",
        family="resnet_v1c",
        fields=_STEM | {"model.backbone": name.removesuffix("_v1c")},
        licence="not stated (code: Apache-2.0)",
        score="top-1 not stated; mmsegmentation's EncNets start from these",
        source="mmcv, mmcv/model_zoo/open_mmlab.json",
        digest=digest,
    )


def _network(name, dataset, training, stamp, single, multi) -> Published:
    model, depth, _ = name.split("_")
    protocol = _ADE if dataset == "ade20k" else _CITY
    score = "see the source" if single is None else f"{single:.2f} % mean IoU"
    if multi is not None:
        score += f", {multi:.2f} multi-scale and flipped"
    return Published(
        name=f"mmseg:{name}",
        address=f"{_NETWORKS}{model}/{training}/{training}_{stamp}.pth",
        family="mmseg",
        fields=_STEM
        | {
            "architecture": "mmseg",
            "model.name": model,
            "model.backbone": f"resnet{depth.removeprefix('r')}",
        },
        licence="Apache-2.0",
        score=f"{score}; {protocol}",
        source=_SOURCE.format(model),
        digest=stamp.rpartition("-")[2],
        dataset=dataset,
    )


register(
    *(_backbone(file) for file in _BACKBONE_FILES), *(_network(*row) for row in _FILES)
)
