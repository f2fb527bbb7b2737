"""Builds functions that map images to labels, for export to files."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from encnet_jax.errors import UserError
from encnet_jax.inference.model import Model
from encnet_jax.models import inside
from encnet_jax.models.resize import apply_rows_and_columns, interpolation_matrix
from encnet_jax.scoring import calibration
from encnet_jax.scoring.protocols.whole_images import class_ids

_ROW_BLOCKS = 8  # Upsampling one block of rows at a time saves memory.


class Program(NamedTuple):
    """A function that maps images to labels, and its properties.

    The image size is either fixed or "free", that is, known only at run time.

    Attributes:
        run: the function, which maps images uint8[B, height, width, 3] to
            {name: output}. If `masked`, the second argument is int32[B, 2], the height
            and width of each image without padding.
        height, width: size of the images in pixels; 0 if the size is free.
        outputs: names of the outputs: 'labels' uint8[B, height, width], 'logits'
            f32[B, h, w, C] at the network's resolution, 'presence' f32[B, C] if the
            network has an SE branch, and optionally 'scores' f32[B, height, width, C].
        rows, columns: matrices f32[height, h] and f32[width, w] that upsample the
            logits; empty if the size is free.
        of_probabilities: whether probabilities are upsampled instead of logits; see
            eval.upsampled.
        multiple: padded heights and widths must be multiples of this number of pixels;
            0 if the size is fixed.
        masked: whether `run` accepts the sizes of the images and ignores the padding,
            which is to the right and below.
        side_matrix: function (pixels, padded) that returns f32[pixels, number of
            logits], a matrix that upsamples logits. The arguments are an image's height
            or width before and after padding. None if the size is fixed.
    """

    run: Callable[..., dict[str, jax.Array]]
    height: int
    width: int
    outputs: tuple[str, ...]
    rows: np.ndarray
    columns: np.ndarray
    of_probabilities: bool = False
    multiple: int = 0
    masked: bool = False
    side_matrix: Callable[[int, int], np.ndarray] | None = None

    def inputs(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Returns {name: shape and dtype} of the inputs; free sizes are symbols."""
        size = f"{self.height}, {self.width}"
        if self.multiple:
            size = f"{self.multiple}*height, {self.multiple}*width"
        images = export.symbolic_shape(f"batch, {size}, 3")
        found = {"images": jax.ShapeDtypeStruct(images, jnp.uint8)}
        if self.masked:
            found["sizes"] = jax.ShapeDtypeStruct((images[0], 2), jnp.int32)
        return found

    def of_size(self, size: tuple[int, int], canvas: tuple[int, int]) -> "Program":
        """Returns a copy of the program with one image's size and upsampling matrices.

        A program of fixed size is returned unchanged.

        Args:
            size: (height, width) of the image, in pixels.
            canvas: (height, width) of the padded image, in pixels.
        """
        if self.side_matrix is None:
            return self
        rows, columns = map(self.side_matrix, size, canvas)
        height, width = size
        return self._replace(height=height, width=width, rows=rows, columns=columns)


def make(model: Model, height: int, width: int, *, scores: bool) -> Program:
    """Builds a program for one image size; the weights are constants of the program.

    Args:
        model: the network. The program labels whole images, like the evaluation
            protocol 'single'.
        height, width: size of the images, in pixels.
        scores: whether to also output the probabilities of every pixel.
    """
    variables = _on_host(model)
    probe = jax.ShapeDtypeStruct((1, height, width, 3), jnp.uint8)
    outputs = jax.eval_shape(model.apply_fn, variables, probe)
    _, h, w, _ = outputs.logits.shape
    align_corners = model.config.model.align_corners
    rows = interpolation_matrix(height, h, align_corners)
    columns = interpolation_matrix(width, w, align_corners)

    def run(images: jax.Array) -> dict[str, jax.Array]:
        found = model.apply_fn(variables, images)
        blocks = map(jnp.asarray, np.array_split(rows, _ROW_BLOCKS))
        return _described(model, found, blocks, jnp.asarray(columns), scores)

    names = _names(outputs.presence is not None, scores)
    of_probabilities = model.config.eval.upsampled == "probabilities"
    return Program(run, height, width, names, rows, columns, of_probabilities)


def make_free(model: Model, *, scores: bool) -> Program:
    """Builds a program for images of any size.

    If the network ignores padding, the sizes of the images are a second input of the
    program. Otherwise padding affects the scores, so images must be padded as in
    evaluation: to multiples of eval.bucket.

    Args:
        model, scores: see `make`.

    Raises:
        UserError: the network requires an image size that is known at export.
    """
    forward = model.forward
    masked, stride = forward.mask_padding, forward.logits_stride
    align_corners = forward.align_corners
    unit = model.config.model.output_stride if masked else model.config.eval.bucket
    variables = _on_host(model)

    def run(images: jax.Array, *sizes: jax.Array) -> dict[str, jax.Array]:
        canvas = images.shape[1:3]
        covered = [inside.of_sizes(size, *canvas) for size in sizes]
        found = model.apply_fn(variables, images, *covered)
        sides = [jnp.asarray(side) for side in canvas]
        if sizes:
            sides = [
                jax.lax.index_in_dim(sizes[0], i, 1, keepdims=False) for i in (0, 1)
            ]
        rows, columns = (
            _Upsampling(side.astype(jnp.float32), stride, count, align_corners)
            for side, count in zip(sides, found.logits.shape[1:3], strict=True)
        )
        step = canvas[0] // _ROW_BLOCKS
        blocks = (rows.matrix(i * step, step) for i in range(_ROW_BLOCKS))
        return _described(model, found, blocks, columns.matrix(0, canvas[1]), scores)

    def side_matrix(pixels: int, padded: int) -> np.ndarray:
        whole = pixels if masked else padded
        matrix = interpolation_matrix(whole, math.ceil(whole / stride), align_corners)
        missing = math.ceil(padded / stride) - matrix.shape[1]
        return np.pad(matrix[:pixels], ((0, 0), (0, missing)))

    program = Program(
        run,
        *(0, 0, (), np.zeros((0, 0)), np.zeros((0, 0))),
        of_probabilities=model.config.eval.upsampled == "probabilities",
        multiple=math.lcm(unit, model.config.model.output_stride, _ROW_BLOCKS),
        masked=masked,
        side_matrix=side_matrix,
    )
    try:
        outputs = jax.eval_shape(run, *program.inputs().values())
    except Exception as error:  # JAX raises many types of errors for unknown sizes.
        if isinstance(error, UserError | MemoryError):
            raise
        raise UserError(
            f"{model.config.model.name} cannot be exported for images of any size:"
            f" choose --size HEIGHTxWIDTH ({str(error).splitlines()[0][:200]})"
        ) from None
    return program._replace(outputs=_names("presence" in outputs, scores))


class _Upsampling(NamedTuple):
    """Computes the upsampling matrix for an image size that is known only at run time.

    The matrix equals models.resize.interpolation_matrix for this size.

    Attributes:
        side: height or width in pixels: f32[] if all images have the same size, or
            f32[B] for B images.
        stride: distance between neighbouring logits, in pixels.
        num_logits: number of logits along this axis, the columns of the matrix.
        align_corners: see model.align_corners.
    """

    side: jax.Array
    stride: float
    num_logits: int
    align_corners: bool

    def matrix(self, start: int, rows: int) -> jax.Array:
        """Returns `rows` rows of the matrix, beginning with row `start`.

        Returns:
            f32[rows, num_logits], or f32[B, rows, num_logits] for B images.
        """
        index = (jnp.arange(rows) + start).astype(jnp.float32)
        index = index.reshape((1,) * self.side.ndim + (-1,))
        side = self.side[..., None]
        logits = jnp.ceil(side / self.stride)
        if self.align_corners:
            position = index * ((logits - 1) / jnp.maximum(side - 1, 1))
        else:
            position = jnp.maximum((index + 0.5) * (logits / side) - 0.5, 0)
        position = jnp.minimum(position, logits - 1)[..., None]
        place = jnp.arange(self.num_logits).astype(jnp.float32)
        place = place.reshape((1,) * (position.ndim - 1) + (-1,))
        return jnp.maximum(1 - jnp.abs(position - place), 0)


def _on_host(model: Model) -> dict:
    # Returns NumPy arrays: JAX arrays would tie the program to their devices.
    return jax.tree.map(np.asarray, jax.device_get(model.variables))


def _names(has_presence: bool, scores: bool) -> tuple[str, ...]:
    return "labels", "logits", *["presence"] * has_presence, *["scores"] * scores


def _described(model, found, row_blocks, columns, scores) -> dict[str, jax.Array]:
    """Upsamples the network's logits, and returns the program's {name: output}.

    Args:
        model: the network.
        found: the network's outputs, a scoring.forward.Outputs.
        row_blocks: matrices f32[H_i, h] or f32[B, H_i, h] that upsample along the
            height, one for each block of rows.
        columns: matrix f32[W, w] or f32[B, W, w] that upsamples along the width.
        scores: whether to also return the probabilities.
    """
    of_probabilities = model.config.eval.upsampled == "probabilities"
    temperature = model.config.eval.temperature
    logits = found.logits.astype(jnp.float32)
    maps = jax.nn.softmax(logits, axis=-1) if of_probabilities else logits
    labels, shares = [], []
    for rows in row_blocks:
        x = _upsampled(maps, rows, columns)
        labels.append(class_ids(x))
        if scores:
            share = x if of_probabilities else jax.nn.softmax(x, axis=-1)
            if temperature != 1:
                share = calibration.at_temperature(share, temperature)
            shares.append(share)
    outputs = {"labels": jnp.concatenate(labels, axis=1), "logits": logits}
    if found.presence is not None:
        outputs["presence"] = found.presence
    return outputs | ({"scores": jnp.concatenate(shares, axis=1)} if scores else {})


def _upsampled(maps, rows, columns) -> jax.Array:
    if rows.ndim == 2:
        return apply_rows_and_columns(maps, rows, columns)
    x = jnp.einsum("brh,bhwc->brwc", rows, maps, precision="high")
    return jnp.einsum("bWw,brwc->brWc", columns, x, precision="high")


def native_scores(
    program: Program, logits: np.ndarray
) -> Iterator[tuple[slice, np.ndarray]]:
    """Upsamples the logits of one image, block by block to save memory.

    If `program.of_probabilities`, probabilities are upsampled instead of logits.

    Args:
        program: a program of the image's size; see Program.of_size.
        logits: f32[h, w, C] of the image.

    Yields:
        (slice of rows, scores f32[rows, width, C]) for each block of rows.
    """
    if program.of_probabilities:
        logits = np.exp(logits - logits.max(-1, keepdims=True))
        logits /= logits.sum(-1, keepdims=True)
    step = -(-program.height // _ROW_BLOCKS)
    wide = np.einsum("Ww,hwc->hWc", program.columns, logits)
    for top in range(0, program.height, step):
        rows = slice(top, min(top + step, program.height))
        yield rows, np.einsum("Hh,hWc->HWc", program.rows[rows], wide)
