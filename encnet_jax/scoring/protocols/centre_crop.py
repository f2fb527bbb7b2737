"""The `centre_crop` protocol: the middle of each image, as seen during training."""

import numpy as np
from PIL import Image

from encnet_jax.scoring.protocols import canvas
from encnet_jax.scoring.protocols.whole_images import WholeImages


def centre_crop(example: dict, crop_size: int) -> dict:
    """Resizes an example's short side to a crop and cuts out the middle.

    What is scored is a part of each image, at another size: good for watching a run,
        not for comparing with scores of whole images.

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


class CentreCrop(WholeImages):
    """Labels the middle of each image; keeps its compiled program."""

    def __init__(self, apply_fn, *, crop_size: int, **shared):
        """Prepares, compiles nothing yet.

        Args:
            apply_fn, shared: see WholeImages.
            crop_size: pixels, see centre_crop.
        """
        # Crops are of one size already: nothing to scale or to pad.
        super().__init__(apply_fn, scale=1.0, bucket=1, **shared)
        self._crop_size = crop_size

    def view(self, example: dict) -> dict:
        """Returns the middle of the example."""
        return centre_crop(example, self._crop_size)
