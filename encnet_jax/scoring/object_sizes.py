"""Objects by their size, to score small and large ones separately."""

import numpy as np
from scipy import ndimage

from encnet_jax.labels import IGNORE_LABEL


def small_objects(label: np.ndarray, small_px: int) -> np.ndarray:
    """Keeps only the pixels of small objects.

    An object is a connected region (4 neighbours) of one class in the annotation.
    Touching objects of one class count as one, because a map of classes does not
    separate them.

    Args:
        label: uint8[H, W], ids 0..C-1 and IGNORE_LABEL.
        small_px: objects of fewer pixels are small.

    Returns:
        uint8[H, W]: label where an object is small, IGNORE_LABEL elsewhere.
    """
    kept = np.full_like(label, IGNORE_LABEL)
    for class_id in np.setdiff1d(np.unique(label), [IGNORE_LABEL]):
        regions, _ = ndimage.label(label == class_id)
        pixels = np.bincount(regions.ravel())
        pixels[0] = small_px  # Component 0: other classes, never small.
        kept[(pixels < small_px)[regions]] = class_id
    return kept
