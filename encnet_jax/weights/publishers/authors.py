"""Weight files of PyTorch-Encoding (the authors' code); downloads no longer work.

The addresses have returned HTTP error 403 for years. The files are listed for users
who have a copy and can put the copy into the cache folder.
"""

from encnet_jax.weights.published import Published, register

_ADDRESS = "https://hangzh.s3.amazonaws.com/encoding/models/"
_SOURCE = "PyTorch-Encoding, encoding/models/model_zoo.py and its documentation"
_STEM = {"model.stem": "deep", "model.stem_width": 64, "model.avg_down": False}
_BACKBONE_FILES = ("resnet50s-a75c83cf", "resnet101s-03a0f310", "resnet152s-36670e8b")
_CONTEXT = {"model.lateral": True}
_LARGE = {"eval.base_size": 640, "eval.crop_size": 576}
# (file, data set, additional fields, published pixel accuracy and mean IoU).
_FILES: tuple[tuple[str, str, dict, tuple[float, float] | None], ...] = (
    ("encnet_resnet50s_ade-07ac287c", "ade20k", {}, (80.1, 41.5)),
    ("encnet_resnet101s_ade-3f54fa3b", "ade20k", _LARGE, (81.3, 44.4)),
    ("fcn_resnet50s_ade-662e979d", "ade20k", {}, (78.7, 38.5)),
    ("psp_resnet50s_ade-54f70c77", "ade20k", {}, None),
    ("encnet_resnet50s_pcontext-4de91d59", "pascal_context", _CONTEXT, (79.2, 51.0)),
    ("encnet_resnet101s_pcontext-9f27ea13", "pascal_context", _CONTEXT, (80.7, 54.1)),
    ("fcn_resnet50s_pcontext-eeed8e58", "pascal_context", {}, None),
)


def _backbone(file: str) -> Published:
    name, _, digest = file.partition("-")
    return Published(
        name=f"authors:{name}",
        address=f"{_ADDRESS}{file}.zip",
        family="deep_stem",
        fields=_STEM | {"model.backbone": name.removesuffix("s")},
        licence="not stated (code: MIT)",
        score="not stated",
        source=_SOURCE,
        digest=f"sha1:{digest}",
        gone=True,
    )


def _network(file: str, dataset: str, more: dict, scores) -> Published:
    name, _, digest = file.partition("-")
    model, backbone, _ = name.split("_")
    stated = "not stated"
    if scores:
        stated = "{} % pixel accuracy, {} % mean IoU, val, protocol 'release'".format(
            *scores
        )
    return Published(
        name=f"authors:{name}",
        address=f"{_ADDRESS}{file}.zip",
        family="authors",
        fields=_STEM
        | {
            "architecture": "release",
            "model.name": "pspnet" if model == "psp" else model,
            "model.backbone": backbone.removesuffix("s"),
            "eval.protocol": "release",
        }
        | more,
        licence="not stated (code: MIT)",
        score=stated,
        source=_SOURCE,
        digest=f"sha1:{digest}",
        gone=True,
        dataset=dataset,
    )


register(
    *(_backbone(file) for file in _BACKBONE_FILES), *(_network(*row) for row in _FILES)
)
