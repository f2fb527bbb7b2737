"""The loss of image classifiers: cross-entropy."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
import optax


def classification_loss(
    outputs: Mapping[str, jax.Array | np.ndarray],
    labels: jax.Array | np.ndarray,
    axis_name: str | None = None,
    label_smoothing: float = 0.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns this device's contributions to the mean cross-entropy and error rate.

    The contributions of all devices add up to the means over the images of all devices.

    Args:
        outputs: {'logits': f32[B, C]}.
        labels: integer[B], ids 0..C-1.
        axis_name: name of the pmap axis; None for one device.
        label_smoothing: in [0, 1), the fraction of the target probability that is
            spread evenly over all classes.

    Returns:
        (f32[] for the cross-entropy, {'error': f32[] for the error rate}).
    """
    logits, labels = outputs["logits"], labels.astype(jnp.int32)
    num_images = len(labels)
    if axis_name is not None:
        num_images *= jax.lax.axis_size(axis_name)
    if label_smoothing:
        targets = jax.nn.one_hot(labels, logits.shape[-1])
        targets = optax.smooth_labels(targets, label_smoothing)
        each = optax.softmax_cross_entropy(logits, targets)
    else:
        each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    wrong = jnp.argmax(logits, axis=-1).astype(jnp.int32) != labels
    return jnp.sum(each) / num_images, {"error": jnp.sum(wrong) / num_images}
