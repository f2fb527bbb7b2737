"""Functions that compute results for every pixel on the device, block by block.

Each function takes scores f32[..., C], whose largest value determines the label, and
weights f32[..., C], proportional to probabilities. It returns a dict of arrays [...].
"""

from functools import partial

import jax
import jax.numpy as jnp

from encnet_jax.scoring.protocols.whole_images import class_ids, probabilities_of

FULL_SCALE = 65535  # Value of a 16-bit image that represents 1.


def labels(scores: jax.Array, weights: jax.Array) -> dict[str, jax.Array]:
    """Returns {'labels': uint8[...]}, the class id of the largest score."""
    return {"labels": class_ids(scores)}


def confidence(scores: jax.Array, weights: jax.Array) -> dict[str, jax.Array]:
    """Returns 'labels' and their probabilities, 'confidence' f32[...] in [0, 1]."""
    largest = jnp.max(probabilities_of(weights), axis=-1)
    return {**labels(scores, weights), "confidence": largest}


def everything(scores: jax.Array, weights: jax.Array) -> dict[str, jax.Array]:
    """Returns the results of `confidence`, and 'scores' f32[..., C]: probabilities."""
    return {**confidence(scores, weights), "scores": probabilities_of(weights)}


def largest(number: int):
    """Returns a function that computes the `number` most probable classes of pixels."""
    return partial(_largest, number=number)


def _largest(scores, weights, *, number: int) -> dict[str, jax.Array]:
    """Returns the arrays that are written to files, in small dtypes.

    Returns:
        'labels' uint8[...]; 'top_classes' uint8[..., number], best first, and
        'top_probabilities' f16[..., number]; 'confidence' and 'entropy' (as a fraction
        of its maximum, log C) uint16[...], both multiplied by FULL_SCALE.
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
