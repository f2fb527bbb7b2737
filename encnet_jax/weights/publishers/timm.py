"""Weights of timm's ResNet-D and ConvNeXt; names of unsupported ResNet variants."""

from encnet_jax.weights.published import Published, register

_ADDRESS = (
    "https://github.com/rwightman/pytorch-image-models/releases/download/v0.1-weights/"
)
_SOURCE = "timm 1.0.31, timm/models/resnet.py; results/results-imagenet.csv"
# (name, file, published top-1 score and crop).
_FILES = (
    ("resnet18d", "resnet18d_ra2-48a79e06", "see the source"),
    ("resnet34d", "resnet34d_ra2-f8dcfcaf", "78.436 % top-1, crop 288"),
    ("resnet50d", "resnet50d_ra2-464e36ba", "81.356 % top-1, crop 288"),
    ("resnet101d", "resnet101d_ra2-2803ffab", "see the source"),
    ("resnet152d", "resnet152d_ra2-5cac0439", "see the source"),
)
# Parameter names and shapes equal those of plain ResNets, but the layers between the
# convolutions differ, which cannot be detected from the file.
LOOK_ALIKES = r"resnet(aa|blur)\d+d?"

_CONVNEXT = Published(
    name="timm:convnext_tiny",
    address="https://huggingface.co/timm/convnext_tiny.fb_in1k/resolve/main/"
    "model.safetensors",
    family="timm_convnext",
    fields={"model.backbone": "convnext_tiny"},
    licence="Apache-2.0",
    score="see the source; ImageNet-1K val, centre crop",
    source="timm 1.0.31, timm/models/convnext.py (hf_hub_id of fb_in1k)",
)


def _resnet_d(name: str, file: str, score: str) -> Published:
    return Published(
        name=f"timm:{name}",
        address=f"{_ADDRESS}{file}.pth",
        family="resnet_d",
        fields={
            "model.backbone": name.removesuffix("d"),
            "model.stem": "deep",
            "model.stem_width": 32,
            "model.avg_down": True,
        },
        licence="Apache-2.0",
        score=f"{score}; ImageNet-1K val, centre crop",
        source=_SOURCE,
        digest=file.rpartition("-")[2],
    )


register(*(_resnet_d(*row) for row in _FILES), _CONVNEXT)
