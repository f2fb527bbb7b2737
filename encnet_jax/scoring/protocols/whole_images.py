"""Predicts label maps of whole images; all images of a batch are padded to one size.

A function, `pixel_fn`, computes the result for each pixel, by default the class id; see
`predict`.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.models import inside
from encnet_jax.pods import parallel
from encnet_jax.scoring.forward import Forward, Outputs
from encnet_jax.scoring.protocols import canvas, grouping
from encnet_jax.scoring.protocols.canvases import AheadOfTime, Canvases, Size, blank

# Number of rows of each image that are upsampled at a time. A block of this height fits
# into the cache of a CPU core.
BLOCK_ROWS = 8


class Described(NamedTuple):
    """Results of a batch of images.

    Attributes:
        pixels: the result for each pixel, a pytree of arrays [devices, b, H, W, ...]. H
            and W are the common height and width to which the images are padded, at
            their original resolution. b is the number of images per device.
        presence: f32[devices, b, C], probability that each class occurs in the image:
            the mean over scales and mirror images, or the maximum over sliding windows.
            None if the network has no SE branch.
    """

    pixels: Any
    presence: jax.Array | None

    @classmethod
    def one_each(cls, pixels: Any, presence: jax.Array | None) -> "Described":
        """Creates the results of a batch with one image on each device.

        Args:
            pixels: pytree of arrays [devices, 1, H, W, ...].
            presence: f32[devices, C], or None if the network has no SE branch.
        """
        return cls(pixels, None if presence is None else presence[:, None])


def map_native(
    fn: Callable,
    logits: jax.Array,
    rows: jax.Array | np.ndarray,
    columns: jax.Array | np.ndarray,
    *maps: jax.Array,
) -> jax.Array:
    """Upsamples logits to the original size of images and applies a function.

    Blocks of rows are processed one after the other, to save memory.

    Args:
        fn: function (logits, *maps) of a block of r rows: upsampled logits
            f32[B, r, W, C] and maps [B, r, W, ...]. Returns a pytree of arrays
            [b, r, ...]; b can differ from B.
        logits: f32[B, h, w, C].
        rows, columns: f32[B, H, h] and f32[B, W, w], upsampling matrices; see
            canvas.Canvas.
        maps: arrays [B, H, W, ...], further inputs of `fn`.

    Returns:
        The results of `fn` for all rows, a pytree of arrays [b, H, ...]; values in the
        padding are meaningless.
    """
    height = rows.shape[1]
    num_blocks = -(-height // BLOCK_ROWS)

    def in_blocks(x):
        missing = num_blocks * BLOCK_ROWS - height
        x = jnp.pad(x, ((0, 0), (0, missing), *[(0, 0)] * (x.ndim - 2)))
        x = x.reshape(x.shape[0], num_blocks, BLOCK_ROWS, *x.shape[2:])
        return x.swapaxes(0, 1)

    def of_block(blocks):
        block_rows, *others = blocks
        # 'high', or the TPU would round the weights to bfloat16 and flip 1 % of the
        # ids.
        x = jnp.einsum("brh,bhwc->brwc", block_rows, logits, precision="high")
        x = jnp.einsum("bWw,brwc->brWc", columns, x, precision="high")
        return fn(x, *others)

    def joined(x):
        x = x.swapaxes(0, 1)
        return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :height]

    return jax.tree.map(
        joined, jax.lax.map(of_block, tuple(map(in_blocks, (rows, *maps))))
    )


def class_ids(scores: jax.Array) -> jax.Array:
    """Returns the class with the largest score of each pixel, uint8[...].

    The result is IGNORE_LABEL for pixels that have a NaN score or whose largest score
    is infinite.

    Args:
        scores: [..., C].
    """
    ids = jnp.argmax(scores, axis=-1).astype(jnp.uint8)
    # A separate check: XLA's maximum on CPUs ignores NaN unless it is fused.
    unknown = jnp.any(jnp.isnan(scores), axis=-1)
    finite = jnp.isfinite(jnp.max(scores, axis=-1)) & ~unknown
    return jnp.where(finite, ids, jnp.uint8(IGNORE_LABEL))


def canvas_outputs(
    variables: dict, placed: canvas.Canvas, *, forward: Forward
) -> Outputs:
    """Applies a network to a batch of padded images; returns Outputs with f32 logits.

    Args:
        variables: variables of the network.
        placed: the batch, a Canvas whose arrays have a leading axis of images.
        forward: the network's forward pass.
    """
    covered: tuple = ()
    if forward.mask_padding:
        height, width = placed.image.shape[1:3]
        covered = (inside.of_sizes(placed.size, height, width),)
    outputs = forward.apply_fn(variables, placed.image, *covered)
    return outputs._replace(logits=outputs.logits.astype(jnp.float32))


def weights_of(logits: jax.Array) -> jax.Array:
    """Returns unnormalised class probabilities, f32[..., C] in [0, 1].

    Unnormalised probabilities are cheaper than a softmax; `probabilities_of` normalises
    them.

    Args:
        logits: f32[..., C].
    """
    return jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))


def probabilities_of(weights: jax.Array) -> jax.Array:
    """Divides weights by their sum over classes; returns probabilities, f32[..., C].

    Args:
        weights: f32[..., C], non-negative.
    """
    return weights / jnp.maximum(jnp.sum(weights, axis=-1, keepdims=True), 1e-30)


def labels_only(scores: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns the class with the largest score, uint8[...]; the default `pixel_fn`.

    Args:
        scores: f32[..., C].
        weights: not used; every `pixel_fn` must accept this argument.
    """
    return class_ids(scores)


def of_shares(pixel_fn: Callable) -> Callable:
    """Wraps a `pixel_fn` for scores that are proportional to the class probabilities.

    Args:
        pixel_fn: function (scores, weights, *labels); see `predict`.

    Returns:
        A function (scores, weights, *labels) that ignores its weights and calls
        `pixel_fn` with the scores as weights.
    """

    def described(scores, _, *labels):
        return pixel_fn(scores, scores, *labels)

    return described


def predict(
    variables: dict,
    placed: canvas.Canvas,
    *labels: jax.Array,
    forward: Forward,
    pixel_fn: Callable = labels_only,
) -> Described:
    """Applies a network to a batch of images, and `pixel_fn` to every pixel.

    Args:
        variables: variables of the network.
        placed: the padded images, a Canvas whose arrays have a leading axis of images.
        labels: optionally one array uint8[B, H, W], the label maps with padding, which
            is passed to `pixel_fn`.
        forward: the network's forward pass.
        pixel_fn: function (logits, weights, *labels) that returns a pytree of arrays
            with the results for each pixel. Logits and weights are f32[..., C], labels
            uint8[...]; the weights are proportional to the probabilities.

    Returns:
        A Described: `pixels` is the result of `pixel_fn`, a pytree of arrays
        [B, H, W, ...]; `presence` is f32[B, C], or None if the network has no SE
        branch.
    """
    logits, presence = canvas_outputs(variables, placed, forward=forward)

    def described(x, *labels):
        return pixel_fn(x, weights_of(x), *labels)

    pixels = map_native(described, logits, placed.rows, placed.columns, *labels)
    return Described(pixels, presence)


class WholeImages:
    """Predicts label maps of whole images at one scale; caches compiled programs."""

    def __init__(
        self,
        forward: Forward,
        *,
        canvases: Canvases,
        batch_size: int,
        devices: list,
        pixel_fn: Callable = labels_only,
        with_labels: bool = False,
    ):
        """Stores the arguments; nothing is compiled yet.

        Args:
            forward: the network's forward pass.
            canvases: the sizes to which images are padded.
            batch_size: number of images in a batch, over all devices.
            devices: the devices to use.
            pixel_fn: function that computes the results for every pixel, by default
                class ids; see predict.
            with_labels: whether the labels of the examples are passed to `pixel_fn`.
        """
        self._with_labels = with_labels
        self._scale, self._canvases = forward.input_scale, canvases
        self._place = partial(
            canvas.place,
            scale=forward.input_scale,
            bucket=canvases.bucket,
            logits_stride=forward.logits_stride,
            align_corners=forward.align_corners,
            as_alone=forward.mask_padding,
        )
        self._batch_size, self._devices = batch_size, devices
        mapped = parallel.mapped(
            partial(predict, forward=forward, pixel_fn=pixel_fn),
            (parallel.SHARED, *[parallel.ROWS] * (1 + with_labels)),
            devices=devices,
        )
        expected = [(*room, self._scale) for room in canvases.rooms]
        self._predict = AheadOfTime(
            mapped, expected, lambda key: self._batch([blank(key)], key[:2])
        )

    def describe(
        self, variables: dict, examples: Iterable[dict]
    ) -> Iterator[tuple[list[dict], Described]]:
        """Yields the results of one batch of images at a time.

        The images of a batch are padded to the same size. If a batch has fewer than
        `batch_size` examples, meaningless results follow the results of the examples.

        Args:
            variables: variables of the network, replicated on the devices.
            examples: dicts with 'image' uint8[H, W, 3] and, if `with_labels` is set,
                'label' uint8[H, W].

        Yields:
            (examples, results), where the results are a Described.
        """

        def room(example: dict) -> Size:
            return self._canvases.room(*example["image"].shape[:2])

        def sizes(example: dict):
            return canvas.sizes(*room(example), self._scale, self._canvases.bucket)

        for members in grouping.by_key(examples, self._batch_size, sizes):
            shared = room(members[0])
            batch = self._batch(members, shared)
            yield members, self._predict((*shared, self._scale), variables, *batch)

    def _batch(self, members: list[dict], room: tuple[int, int]) -> tuple:
        """Returns the inputs of `predict` for examples, with images padded to one size.

        Args:
            members: the examples.
            room: all images are padded as an image of this (height, width) would be.
        """
        placed = [self._place(np.asarray(m["image"]), room=room) for m in members]
        batch: tuple = (grouping.stack(placed, self._batch_size),)
        if self._with_labels:
            sides = batch[0].rows.shape[1], batch[0].columns.shape[1]
            batch += (canvas.lay_labels(members, self._batch_size, sides),)
        return parallel.shard(batch, self._devices)
