"""The `centre_crop` protocol: the centre of each image at training size."""

from typing import Any

import numpy as np
from PIL import Image

from encnet_jax.scoring.forward import Forward
from encnet_jax.scoring.protocols import PROTOCOLS, canvas
from encnet_jax.scoring.protocols.canvases import Canvases
from encnet_jax.scoring.protocols.single import Single


def centre_crop(example: dict, crop_size: int) -> dict:
    """Resizes an example's short side to a crop and cuts out the centre.

    Only a part of each image is scored, at another size: use this to monitor a run, not
    to compare with scores of whole images.

    Args:
        example: dict with image uint8[H, W, 3] and perhaps label uint8[H, W].
        crop_size: pixels.

    Returns:
        The example with image uint8[crop, crop, 3] (bilinear, antialiased) and label
        uint8[crop, crop] (nearest).

    Source: the validation transform of the released code (_val_sync_transform).
    """
    height, width = example["image"].shape[:2]
    if width > height:
        height, width = crop_size, width * crop_size // height
    else:
        height, width = height * crop_size // width, crop_size
    top, left = round((height - crop_size) / 2), round((width - crop_size) / 2)

    def middle(array: np.ndarray) -> np.ndarray:
        return array[top : top + crop_size, left : left + crop_size]

    cropped = {"image": middle(canvas.resize(example["image"], height, width))}
    if "label" in example:
        label = Image.fromarray(example["label"]).resize(
            (width, height), Image.Resampling.NEAREST
        )
        cropped["label"] = middle(np.asarray(label))
    return {**example, **cropped}


@PROTOCOLS.register(
    "centre_crop", reported=("eval.crop_size", "eval.upsampled"), labels_all=False
)
class CentreCrop(Single):
    """Labels the centre of each image."""

    def __init__(self, forward: Forward, eval_config: Any, **how):
        """See Protocol. Crops have the right size: they are not scaled or padded."""
        forward = forward._replace(input_scale=1.0)
        super().__init__(forward, eval_config, **how | {"canvases": Canvases(1)})

    def view(self, example: dict) -> dict:
        """Returns the centre of the example."""
        return centre_crop(example, self.eval_config.crop_size)
