"""The `single` protocol: whole images on padded canvases, a batch for each size."""

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

# Number of rows of each image whose logits are upsampled at a time: few enough that a
# block of a batch stays in a CPU core's cache.
BLOCK_ROWS = 8


class Described(NamedTuple):
    """Results of a batch of images.

    Attributes:
        pixels: pixel_fn's tree of [devices, b, H, W, ...], on native canvases.
        presence: f32[devices, b, C], probability that a class occurs in an image; None
            without an SE branch. It is averaged over views of the whole image; over
            windows or tiles, which show parts of the image, the maximum is taken.
    """

    pixels: Any
    presence: jax.Array | None

    @classmethod
    def one_each(cls, pixels: Any, presence: jax.Array | None) -> "Described":
        """Returns the results of one image on each device, presence f32[devices, C]."""
        return cls(pixels, None if presence is None else presence[:, None])


def map_native(
    fn: Callable,
    logits: jax.Array,
    rows: jax.Array | np.ndarray,
    columns: jax.Array | np.ndarray,
    *maps: jax.Array,
) -> jax.Array:
    """Applies a function to logits on each image's native canvas, block by block.

    Args:
        fn: maps f32[B, r, W, C], some of the rows, and those rows of `maps` to a tree
            of [b, r, ...].
        logits: f32[B, h, w, C].
        rows: f32[B, H, h]; columns: f32[B, W, w]; see protocols.canvas.
        maps: [B, H, W, ...] each.

    Returns:
        The tree of [b, H, ...]; pixels outside the image are meaningless.
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
    """Returns uint8[...]: the class of the largest of scores [..., C].

    IGNORE_LABEL where a score is NaN or the largest is infinite: argmax would call such
    pixels class 0, and they would be scored.
    """
    ids = jnp.argmax(scores, axis=-1).astype(jnp.uint8)
    # A separate check: XLA's maximum on CPUs ignores NaN unless it is fused.
    unknown = jnp.any(jnp.isnan(scores), axis=-1)
    finite = jnp.isfinite(jnp.max(scores, axis=-1)) & ~unknown
    return jnp.where(finite, ids, jnp.uint8(IGNORE_LABEL))


def canvas_outputs(
    variables: dict, placed: canvas.Canvas, *, forward: Forward
) -> Outputs:
    """Returns the outputs, logits in f32, of a batch of canvases; see WholeImages."""
    covered: tuple = ()
    if forward.mask_padding:
        height, width = placed.image.shape[1:3]
        covered = (inside.of_sizes(placed.size, height, width),)
    outputs = forward.apply_fn(variables, placed.image, *covered)
    return outputs._replace(logits=outputs.logits.astype(jnp.float32))


def weights_of(logits: jax.Array) -> jax.Array:
    """Returns f32[..., C] in [0, 1], proportional to the softmax of logits [..., C].

    Callers that need probabilities normalise the weights; see probabilities_of.
    """
    return jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True))


def probabilities_of(weights: jax.Array) -> jax.Array:
    """Returns weights f32[..., C] of 0 or more, divided by their sum over classes."""
    return weights / jnp.maximum(jnp.sum(weights, axis=-1, keepdims=True), 1e-30)


def labels_only(scores: jax.Array, weights: jax.Array) -> jax.Array:
    """Returns uint8[...] class ids of scores [..., C]."""
    return class_ids(scores)


def of_shares(pixel_fn: Callable) -> Callable:
    """Adapts pixel_fn to scores that are proportional to probabilities."""

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
    """Returns pixel_fn of a batch of canvases, a tree of [B, H, W, ...], and presence.

    Args:
        variables: the network's variables.
        placed: the batch.
        labels: optionally uint8[B, H, W] on native canvases, passed to pixel_fn.
        forward: the network's forward pass.
        pixel_fn: (logits f32[..., C], weights f32[..., C] proportional to the
            probabilities, labels uint8[...] if given) -> tree of [...].
    """
    logits, presence = canvas_outputs(variables, placed, forward=forward)

    def described(x, *labels):
        return pixel_fn(x, weights_of(x), *labels)

    pixels = map_native(described, logits, placed.rows, placed.columns, *labels)
    return Described(pixels, presence)


class WholeImages:
    """Labels images with the `single` protocol; caches compiled programs."""

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
        """Stores its arguments; nothing is compiled yet.

        Args:
            forward: the network's forward pass.
            canvases: the canvases for the images.
            batch_size: number of images in a batch, over all devices.
            devices: the devices to use.
            pixel_fn: see predict.
            with_labels: whether examples have labels, which are passed to pixel_fn.
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
        """Yields (examples, results on native canvases).

        All canvases of a batch have the same size; the batch may be incomplete.
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
        """Returns the inputs of `predict` for examples on canvases of one size."""
        placed = [self._place(np.asarray(m["image"]), room=room) for m in members]
        batch: tuple = (grouping.stack(placed, self._batch_size),)
        if self._with_labels:
            sides = batch[0].rows.shape[1], batch[0].columns.shape[1]
            batch += (canvas.lay_labels(members, self._batch_size, sides),)
        return parallel.shard(batch, self._devices)
