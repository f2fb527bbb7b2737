"""Functions that compute the results of a block of pixels, on the device.

Each function accepts scores f32[..., C] and weights f32[..., C] of C classes. The
largest score of a pixel determines the label. The weights are unnormalised
probabilities. Each function returns a dict of arrays with the same leading axes.
"""

from functools import partial

import jax
import jax.numpy as jnp

from encnet_jax.scoring.protocols.whole_images import class_ids, probabilities_of

FULL_SCALE = 65535  # Value of a 16-bit image that represents 1.


def labels(scores: jax.Array, weights: jax.Array) -> dict[str, jax.Array]:
    """Returns {'labels': uint8[...]}, the class with each pixel's largest score."""
    return {"labels": class_ids(scores)}


def confidence(scores: jax.Array, weights: jax.Array) -> dict[str, jax.Array]:
    """Returns a dict with each pixel's label and largest probability.

    Returns:
        {'labels': uint8[...], 'confidence': f32[...]}.
    """
    largest = jnp.max(probabilities_of(weights), axis=-1)
    return {**labels(scores, weights), "confidence": largest}


def everything(scores: jax.Array, weights: jax.Array) -> dict[str, jax.Array]:
    """Returns a dict with each pixel's label and the probabilities of all classes.

    Returns:
        {'labels': uint8[...], 'confidence': f32[...], 'scores': f32[..., C]}; the
        confidence is the largest probability.
    """
    return {**confidence(scores, weights), "scores": probabilities_of(weights)}


def largest(number: int):
    """Returns a function that finds each pixel's `number` most probable classes."""
    return partial(_largest, number=number)


def _largest(scores, weights, *, number: int) -> dict[str, jax.Array]:
    """Computes the arrays that are written to files, in small dtypes.

    Returns:
        A dict with these arrays:

        - 'labels': uint8[...], class ids.
        - 'top_classes': uint8[..., number], class ids, most probable first.
        - 'top_probabilities': f16[..., number], in the same order.
        - 'confidence': uint16[...], the largest probability; FULL_SCALE means 1.
        - 'entropy': uint16[...], the entropy divided by log(C); FULL_SCALE means 1.
    """
    number = min(number, scores.shape[-1])
    probabilities = probabilities_of(weights)
    _, top = jax.lax.top_k(scores, number)
    found = jnp.take_along_axis(probabilities, top, axis=-1)
    terms = probabilities * jnp.log(jnp.maximum(probabilities, 1e-30))
    entropy = -jnp.sum(terms, axis=-1) / jnp.log(scores.shape[-1])
    return {
        **labels(scores, weights),
        "top_classes": top.astype(jnp.uint8),
        "top_probabilities": found.astype(jnp.float16),
        "confidence": _as_uint16(jnp.max(probabilities, axis=-1)),
        "entropy": _as_uint16(jnp.clip(entropy, 0, 1)),
    }


def _as_uint16(share: jax.Array) -> jax.Array:
    return jnp.round(share * FULL_SCALE).astype(jnp.uint16)
