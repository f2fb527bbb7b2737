"""Computes the class weights of the loss from the frequency of each class."""

from collections.abc import Sequence

import numpy as np

from encnet_jax.data.sources.info import DatasetInfo
from encnet_jax.errors import UserError

RULES = ("median_frequency", "inverse_sqrt")


def class_weights(
    rule: str, pixels: np.ndarray, pixels_beside: np.ndarray
) -> tuple[float, ...]:
    """Returns one weight per class; 0 for classes that never occur.

    'median_frequency': median(f) / f_c, where f_c is the fraction of class c among the
    labelled pixels of those images that contain class c.
    'inverse_sqrt': 1 / sqrt(fraction of the class among all labelled pixels), scaled to
    a mean of 1 over the classes that occur.

    Args:
        rule: one of RULES.
        pixels: i64[C], number of pixels of each class.
        pixels_beside: i64[C], number of labelled pixels, of all classes, in the images
            that contain each class.

    Raises:
        ValueError: the rule is unknown.

    Source: Eigen and Fergus, ICCV 2015, section 6.2, for 'median_frequency'.
    """
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}; expected one of: {', '.join(RULES)}")
    occurs = pixels > 0
    weights = np.zeros(len(pixels))
    if rule == "median_frequency":
        frequency = pixels[occurs] / pixels_beside[occurs]
        weights[occurs] = np.median(frequency) / frequency if occurs.any() else 0.0
    else:
        rarity = 1 / np.sqrt(pixels[occurs] / max(pixels.sum(), 1))
        weights[occurs] = rarity / rarity.mean() if occurs.any() else 0.0
    # Six digits, so that users can copy printed weights into a configuration.
    return tuple(float(f"{weight:.6g}") for weight in weights)


def check_length(weights: Sequence[float], info: DatasetInfo) -> None:
    """Checks that there is one weight per class or no weight; else raises UserError."""
    if weights and len(weights) != info.num_classes:
        raise UserError(
            f"loss.class_weights has {len(weights)} numbers, but {info.name} has"
            f" {info.num_classes} classes; give one number per class"
        )
