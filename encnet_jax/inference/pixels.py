"""What can be asked of every pixel; computed on the device, block by block.

Each function takes scores f32[..., C], whose largest decides, and probabilities
f32[..., C], and returns a dict of [...].
"""

from functools import partial

import jax
import jax.numpy as jnp

from encnet_jax.scoring.protocols.whole_images import class_ids

FULL_SCALE = 65535  # Of a 16-bit picture: a probability or share of 1.


def labels(scores: jax.Array, probabilities: jax.Array) -> dict[str, jax.Array]:
    """Returns 'labels' uint8[...]."""
    return {"labels": class_ids(scores)}


def confidence(scores: jax.Array, probabilities: jax.Array) -> dict[str, jax.Array]:
    """Returns 'labels' and their probabilities, 'confidence' f32[...] in [0, 1]."""
    return {
        **labels(scores, probabilities),
        "confidence": jnp.max(probabilities, axis=-1),
    }


def everything(scores: jax.Array, probabilities: jax.Array) -> dict[str, jax.Array]:
    """Returns 'labels', 'confidence' and all probabilities, 'scores' f32[..., C]."""
    return {**confidence(scores, probabilities), "scores": probabilities}


def largest(number: int):
    """Returns a function for the `number` best classes of every pixel, in few bytes."""
    return partial(_largest, number=number)


def _largest(scores, probabilities, *, number: int) -> dict[str, jax.Array]:
    """Returns what files keep.

    Returns:
        'labels' uint8[...]; 'top_classes' uint8[..., number], best first, and
        'top_probabilities' f16[..., number]; 'confidence' and 'entropy' uint16[...] of
        FULL_SCALE, entropy as a share of the largest possible, log C.
    """
    number = min(number, scores.shape[-1])
    _, top = jax.lax.top_k(scores, number)
    found = jnp.take_along_axis(probabilities, top, axis=-1)
    terms = probabilities * jnp.log(jnp.maximum(probabilities, 1e-30))
    entropy = -jnp.sum(terms, axis=-1) / jnp.log(scores.shape[-1])
    return {
        **labels(scores, probabilities),
        "top_classes": top.astype(jnp.uint8),
        "top_probabilities": found.astype(jnp.float16),
        "confidence": _as_uint16(jnp.max(probabilities, axis=-1)),
        "entropy": _as_uint16(jnp.clip(entropy, 0, 1)),
    }


def _as_uint16(share: jax.Array) -> jax.Array:
    return jnp.round(share * FULL_SCALE).astype(jnp.uint16)
