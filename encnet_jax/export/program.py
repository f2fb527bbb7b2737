"""The function that is exported, and reference scores for its verification."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.inference.model import Model
from encnet_jax.models.resize import apply_rows_and_columns, interpolation_matrix
from encnet_jax.scoring import calibration
from encnet_jax.scoring.protocols.whole_images import class_ids

_ROW_BLOCKS = 8  # Logits exist at full resolution for one of these blocks at a time.


class Program(NamedTuple):
    """A function from images to labels, with the size of the images fixed.

    Attributes:
        run: uint8[B, height, width, 3] -> dict of `outputs`.
        height, width: pixels of every image.
        outputs: names: 'labels' uint8[B, height, width], 'logits' f32[B, h, w, C] at
            the network's resolution, 'presence' f32[B, C] if the network has an SE
            branch, and optionally 'scores' f32[B, height, width, C].
        rows, columns: f32[height, h], f32[width, w], matrices that upsample the logits.
        of_probabilities: the softmax is upsampled instead; see eval.upsampled.
    """

    run: Callable[[jax.Array], dict[str, jax.Array]]
    height: int
    width: int
    outputs: tuple[str, ...]
    rows: np.ndarray
    columns: np.ndarray
    of_probabilities: bool = False


def make(model: Model, height: int, width: int, *, scores: bool) -> Program:
    """Fixes the size of images; the weights become constants of the program.

    Args:
        model: the network; the program evaluates whole images, as protocol 'single'.
        height, width: of the images, in pixels.
        scores: also output the probabilities of every pixel.
    """
    # From one device: a replicated array would make its devices part of the program.
    variables = jax.tree.map(np.asarray, jax.device_get(model.variables))
    probe = jax.ShapeDtypeStruct((1, height, width, 3), jnp.uint8)
    outputs = jax.eval_shape(model.apply_fn, variables, probe)
    _, h, w, _ = outputs.logits.shape
    align_corners = model.config.model.align_corners
    of_probabilities = model.config.eval.upsampled == "probabilities"
    temperature = model.config.eval.temperature
    rows = interpolation_matrix(height, h, align_corners)
    columns = interpolation_matrix(width, w, align_corners)

    def run(images: jax.Array) -> dict[str, jax.Array]:
        logits, presence = model.apply_fn(variables, images)
        logits = logits.astype(jnp.float32)
        maps = jax.nn.softmax(logits, axis=-1) if of_probabilities else logits
        labels, shares = [], []
        for block in np.array_split(rows, _ROW_BLOCKS):
            x = apply_rows_and_columns(maps, jnp.asarray(block), jnp.asarray(columns))
            labels.append(class_ids(x))
            if scores:
                share = x if of_probabilities else jax.nn.softmax(x, axis=-1)
                if temperature != 1:
                    share = calibration.at_temperature(share, temperature)
                shares.append(share)
        found = {"labels": jnp.concatenate(labels, axis=1), "logits": logits}
        if presence is not None:
            found["presence"] = presence
        return found | ({"scores": jnp.concatenate(shares, axis=1)} if scores else {})

    names = ["labels", "logits"]
    names += ["presence"] * (outputs.presence is not None) + ["scores"] * scores
    return Program(run, height, width, tuple(names), rows, columns, of_probabilities)


def native_scores(
    program: Program, logits: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yields (rows, scores f32[rows, width, C]) of an image; their argmax is the label.

    Args:
        program: for images of this size.
        logits: f32[h, w, C], of the image.
    """
    if program.of_probabilities:
        logits = np.exp(logits - logits.max(-1, keepdims=True))
        logits /= logits.sum(-1, keepdims=True)
    step = -(-program.height // _ROW_BLOCKS)
    wide = np.einsum("Ww,hwc->hWc", program.columns, logits)
    for top in range(0, program.height, step):
        rows = slice(top, top + step)
        yield rows, np.einsum("Hh,hWc->HWc", program.rows[rows], wide)
