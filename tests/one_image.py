"""Scores of one image under the `multiscale` or the `release` protocol."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.pods import parallel
from encnet_jax.preprocess import MEAN, STD, normalise
from encnet_jax.scoring.forward import Forward, Outputs
from encnet_jax.scoring.protocols import protocol as protocols


def predict_scores(
    apply_fn,
    variables,
    image,
    *,
    scales,
    flip,
    base_size,
    crop_size,
    protocol="multiscale",
    bucket=64,
):
    """Scores one image as evaluation does, on one device.

    Args:
        apply_fn: (variables, normalised images f32[B, H, W, 3]) -> logits [B, h, w, C].
        variables: of the network.
        image: f32[H, W, 3], normalised by channel mean and standard deviation.
        scales, flip, base_size, crop_size, bucket: fields of eval.
        protocol: 'multiscale' or 'release'.

    Returns:
        f32[H, W, C]: mean probabilities ('multiscale'), or sums over scales of exp of
        logits plus mirrored logits ('release').
    """
    side = 1920  # A multiple of every stride, at scale 1.2 too.
    probe = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    _, rows, _, num_classes = jax.eval_shape(apply_fn, variables, probe).shape

    def on_pixels(variables, pixels):
        return Outputs(apply_fn(variables, normalise(pixels)))

    forward = Forward(
        on_pixels,
        num_classes,
        input_scale=1.0,
        logits_stride=side / rows,
        align_corners=True,
        mask_padding=False,
    )
    settings = SimpleNamespace(
        scales=scales,
        flip=flip,
        base_size=base_size,
        crop_size=crop_size,
        bucket=bucket,
        upsampled="logits",
    )
    devices = jax.local_devices()[:1]
    made = protocols.of_name(protocol, forward, settings, batch_size=4, devices=devices)
    scorer = made.scorer()
    pixels = 255 * (np.asarray(image, np.float32) * np.float32(STD) + np.float32(MEAN))
    variables = parallel.replicate(variables, devices)
    ((_, total, _),) = scorer.scores(variables, [{"image": pixels}])
    height, width = image.shape[:2]
    scores = np.asarray(total)[0, :height, :width]
    return scores / scorer.num_views if protocol == "multiscale" else scores
