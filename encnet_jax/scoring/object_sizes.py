"""Finds small objects in label maps, to score small and large objects separately."""

import numpy as np
from scipy import ndimage

from encnet_jax.labels import IGNORE_LABEL


def small_objects(label: np.ndarray, small_px: int) -> np.ndarray:
    """Returns a label map that contains only the small objects.

    An object is a 4-connected region of one class. Touching objects of the same class
    count as one object, because a label map does not separate them.

    Args:
        label: uint8[H, W], ids 0..C-1 or IGNORE_LABEL.
        small_px: an object with fewer pixels than this is small.

    Returns:
        uint8[H, W], equal to `label` in small objects and IGNORE_LABEL elsewhere.
    """
    kept = np.full_like(label, IGNORE_LABEL)
    for class_id in np.setdiff1d(np.unique(label), [IGNORE_LABEL]):
        regions, _ = ndimage.label(label == class_id)
        pixels = np.bincount(regions.ravel())
        pixels[0] = small_px  # Region 0 is the other classes, not an object.
        kept[(pixels < small_px)[regions]] = class_id
    return kept
