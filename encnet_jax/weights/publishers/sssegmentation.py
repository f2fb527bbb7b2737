"""Weights of sssegmentation's EncNets (SegmentationBLWX)."""

from encnet_jax.weights.published import Published, register

_ADDRESS = (
    "https://github.com/SegmentationBLWX/modelstore/releases/download/ssseg_encnet/"
)
_SOURCE = "sssegmentation, docs/modelzoo/encnet/README.md; ssseg/configs/encnet"
_DATASETS = {"ade20k": "ade20k", "voc": "pascal_voc", "cityscapes": "cityscapes"}
# (depth, output stride, data set in the file's name, mean IoU in %).
_FILES = (
    (50, 8, "ade20k", 40.60),
    (50, 16, "ade20k", 39.70),
    (101, 8, "ade20k", 43.43),
    (101, 16, "ade20k", 41.65),
    (50, 8, "voc", 75.53),
    (50, 16, "voc", 74.55),
    (101, 8, "voc", 77.61),
    (101, 16, "voc", 76.41),
    (50, 8, "cityscapes", 77.98),
    (50, 16, "cityscapes", 75.98),
    (101, 8, "cityscapes", 78.70),
    (101, 16, "cityscapes", 77.46),
)


def _network(depth: int, stride: int, data: str, iou: float) -> Published:
    suffix = "" if stride == 8 else f"_os{stride}"
    return Published(
        name=f"sssegmentation:encnet_r{depth}{suffix}_{data}",
        address=f"{_ADDRESS}encnet_resnet{depth}os{stride}_{data}.pth",
        family="sssegmentation",
        fields={
            "architecture": "mmseg",
            "model.name": "encnet",
            "model.backbone": f"resnet{depth}",
            "model.stem": "deep",
            "model.stem_width": 32,
            "model.avg_down": False,
            "model.output_stride": stride,
            "model.aux_channels": 512,
        },
        licence="not stated (code: MIT)",
        score=f"{iou:.2f} % mean IoU, val, whole images, single scale",
        source=_SOURCE,
        dataset=_DATASETS[data],
    )


register(*(_network(*row) for row in _FILES))
