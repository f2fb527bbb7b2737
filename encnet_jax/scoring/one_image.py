"""Scores of one image under the `multiscale` or the `release` protocol."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.pods import parallel
from encnet_jax.preprocess import MEAN, STD, normalise
from encnet_jax.scoring.protocols.averaged_scales import AveragedScales
from encnet_jax.scoring.protocols.sliding import SlidingWindows


def predict_scores(
    apply_fn: Callable,
    variables: dict,
    image: np.ndarray,
    *,
    scales: tuple[float, ...],
    flip: bool,
    base_size: int,
    crop_size: int,
    protocol: str = "multiscale",
    bucket: int = 64,
    align_corners: bool = True,
) -> np.ndarray:
    """Scores one image with what evaluation uses for a data set, on one device.

    Args:
        apply_fn: (variables, normalised images f32[B, H, W, 3]) -> logits [B, h, w, C].
        variables: of the network.
        image: f32[H, W, 3], normalised by channel mean and standard deviation.
        scales: relative to the image ('multiscale') or to base_size ('release').
        flip: add the mirror images.
        base_size: long side at scale 1, in pixels; only for 'release'.
        crop_size: side of a window, in pixels; only for 'release'.
        protocol: 'multiscale' or 'release'.
        bucket: sides are padded to multiples of it, in pixels; only for 'multiscale'.
        align_corners: corner convention of every upsampling.

    Returns:
        f32[H, W, C]: mean probabilities ('multiscale'), or sums over scales of exp of
        logits plus mirrored logits ('release').

    Raises:
        ValueError: another protocol.
    """
    # A side that every stride divides, that of a network at scale 1.2 included.
    side = 1920
    probe = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    _, rows, _, num_classes = jax.eval_shape(apply_fn, variables, probe).shape
    shared = {"scales": tuple(scales), "flip": flip, "bucket": bucket}
    if protocol == "release":
        own = {"base_size": base_size, "crop_size": crop_size, "batch_size": 4}
        scorer = _scorer(
            SlidingWindows, apply_fn, num_classes, align_corners, **shared, **own
        )
    elif protocol == "multiscale":
        own = {"input_scale": 1.0, "logits_stride": side / rows}
        scorer = _scorer(
            AveragedScales, apply_fn, num_classes, align_corners, **shared, **own
        )
    else:
        raise ValueError(f"protocol is {protocol!r}, wanted 'multiscale' or 'release'")
    pixels = 255 * (np.asarray(image, np.float32) * np.float32(STD) + np.float32(MEAN))
    variables = parallel.replicate(variables, jax.local_devices()[:1])
    ((_, total),) = scorer.scores(variables, [{"image": pixels}])
    height, width = image.shape[:2]
    scores = np.asarray(total)[0, :height, :width]
    return scores / scorer.num_views if protocol == "multiscale" else scores


@functools.lru_cache(maxsize=4)  # Compiled programs serve the next image.
def _scorer(kind, apply_fn: Callable, num_classes: int, align_corners: bool, **fields):
    def on_pixels(variables, pixels):
        return apply_fn(variables, normalise(pixels))

    return kind(
        on_pixels,
        num_classes,
        align_corners=align_corners,
        mask_padding=False,
        devices=jax.local_devices()[:1],
        **fields,
    )
