"""Generated images with one label each: a disc on noise, its hue the class.

For tests and `:smoke`, where CIFAR-10 is not at hand.
"""

import colorsys

import numpy as np

CLASSES = {
    name: tuple(round(255 * x) for x in colorsys.hsv_to_rgb(i / 10, 0.8, 0.9))
    for i, name in enumerate(
        "red orange lime green mint cyan blue indigo purple pink".split()
    )
}
SIDE = 32  # Pixels.
NUM_IMAGES = {"train": 2000, "test": 500}


def generate(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Draws a split; the same every time.

    Args:
        split: of NUM_IMAGES.

    Returns:
        Images uint8[N, SIDE, SIDE, 3] and labels uint8[N] in 0..9, as many of each.
    """
    count = NUM_IMAGES[split]
    rng = np.random.default_rng(list(NUM_IMAGES).index(split))
    labels = rng.permutation(np.arange(count) % len(CLASSES)).astype(np.uint8)
    images = rng.normal(128, 40, (count, SIDE, SIDE, 3))
    place = np.arange(SIDE)
    y, x = rng.uniform(8, SIDE - 8, (2, count, 1, 1))
    radius = rng.uniform(4, 8, (count, 1, 1))
    inside = (place[:, None] - y) ** 2 + (place - x) ** 2 < radius**2
    colours = np.array(list(CLASSES.values()))[labels]
    mixed = 0.5 * images + 0.5 * colours[:, None, None]
    images = np.where(inside[..., None], mixed, images)
    return images.clip(0, 255).astype(np.uint8), labels
