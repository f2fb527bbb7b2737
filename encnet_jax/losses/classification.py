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
    """Returns this device's contributions to the cross-entropy and to the error rate.

    The cross-entropy and the error rate are means over the images of all devices; each
    mean is the sum of the contributions of all devices.

    Args:
        outputs: {'logits': f32[B, C]}.
        labels: integer[B], ids 0..C-1.
        axis_name: name of the pmap axis; None for one device.
        label_smoothing: in [0, 1), the fraction of the target probability that is
            spread evenly over all classes.

    Returns:
        Tuple (cross-entropy, {'error': error rate}) of contributions, f32[] each.
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
