"""Computes the class weights of the loss from the frequencies of the classes."""

from collections.abc import Sequence

import numpy as np

from encnet_jax.data.sources.info import DatasetInfo
from encnet_jax.errors import UserError

RULES = ("median_frequency", "inverse_sqrt")


def class_weights(
    rule: str, pixels: np.ndarray, pixels_beside: np.ndarray
) -> tuple[float, ...]:
    """Returns one weight per class. The weight of a class that never occurs is 0.

    'median_frequency': the weight of class c is median(f) / f[c]. Here, f[c] is the
    fraction of class c among the labelled pixels of the images that contain class c.
    'inverse_sqrt': the weight of class c is 1 / sqrt(g[c]), scaled to a mean weight of
    1. Here, g[c] is the fraction of class c among all labelled pixels.
    The median and the mean are over the classes that occur.

    Args:
        rule: 'median_frequency' or 'inverse_sqrt'.
        pixels: i64[C], number of pixels of each class.
        pixels_beside: i64[C]; element c is the number of labelled pixels, of any class,
            in the images that contain class c.

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
    """Raises UserError unless `weights` is empty or has one weight per class."""
    if weights and len(weights) != info.num_classes:
        raise UserError(
            f"loss.class_weights has {len(weights)} numbers; expected one for each of"
            f" the {info.num_classes} classes of {info.name}; add or remove numbers, or"
            " leave the field empty"
        )
