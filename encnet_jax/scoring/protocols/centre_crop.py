"""The `centre_crop` protocol: evaluates only the centre of each image."""

from typing import Any

import numpy as np
from PIL import Image

from encnet_jax.scoring.forward import Forward
from encnet_jax.scoring.protocols import PROTOCOLS, canvas
from encnet_jax.scoring.protocols.canvases import Canvases
from encnet_jax.scoring.protocols.single import Single


def centre_crop(example: dict, crop_size: int) -> dict:
    """Resizes the short side of an image to `crop_size` and crops the centre square.

    Scores on centre crops are useful to monitor a run, but are not comparable with
    scores on whole images.

    Args:
        example: dict with 'image' uint8[H, W, 3] and optionally 'label' uint8[H, W].
        crop_size: height and width of the crop in pixels.

    Returns:
        The example with 'image' uint8[crop_size, crop_size, 3], resized with a bilinear
        antialiasing filter, and 'label' uint8[crop_size, crop_size], resized with
        nearest neighbour.

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
    """Predicts the classes of the centre of each image; see centre_crop."""

    def __init__(self, forward: Forward, eval_config: Any, **how):
        """Stores the arguments; see Protocol.

        Crops are neither resized by data.input_scale nor padded.
        """
        forward = forward._replace(input_scale=1.0)
        super().__init__(forward, eval_config, **how | {"canvases": Canvases(1)})

    def view(self, example: dict) -> dict:
        """Returns the example, resized and cropped to its centre; see centre_crop."""
        return centre_crop(example, self.eval_config.crop_size)
