"""The `single` protocol: whole images on padded canvases, a batch for each size."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.models import inside
from encnet_jax.pods import parallel
from encnet_jax.scoring.protocols import canvas, grouping

ROW_BLOCKS = 8  # Full-resolution logits exist for this part of the rows at a time.


def map_native(
    fn: Callable,
    logits: jax.Array,
    rows: jax.Array | np.ndarray,
    columns: jax.Array | np.ndarray,
) -> jax.Array:
    """Applies a function to logits on each image's native canvas, block by block.

    Args:
        fn: maps f32[B, r, W, C], some of the rows, to a tree of [b, r, ...].
        logits: f32[B, h, w, C].
        rows: f32[B, H, h]; columns: f32[B, W, w]; see protocols.canvas.

    Returns:
        The tree of [b, H, ...]; what is outside the image is meaningless.
    """
    height = rows.shape[1]
    block = -(-height // ROW_BLOCKS)
    rows = jnp.pad(rows, ((0, 0), (0, block * ROW_BLOCKS - height), (0, 0)))
    blocks = rows.reshape(rows.shape[0], ROW_BLOCKS, block, -1).swapaxes(0, 1)

    def of_block(block_rows):
        # 'high', or the TPU would round the weights to bfloat16 and flip 1 % of the
        # ids.
        x = jnp.einsum("brh,bhwc->brwc", block_rows, logits, precision="high")
        return fn(jnp.einsum("bWw,brwc->brWc", columns, x, precision="high"))

    def joined(x):
        x = x.swapaxes(0, 1)
        return x.reshape(x.shape[0], -1, *x.shape[3:])[:, :height]

    return jax.tree.map(joined, jax.lax.map(of_block, blocks))


def class_ids(scores: jax.Array) -> jax.Array:
    """Returns uint8[...]: the class of the largest of scores [..., C].

    IGNORE_LABEL where a score is NaN or the largest is infinite: argmax would call such
    pixels class 0, and they would be scored.
    """
    ids = jnp.argmax(scores, axis=-1).astype(jnp.uint8)
    # Asked for by itself: where it is not fused, XLA's maximum on CPUs passes over NaN.
    unknown = jnp.any(jnp.isnan(scores), axis=-1)
    finite = jnp.isfinite(jnp.max(scores, axis=-1)) & ~unknown
    return jnp.where(finite, ids, jnp.uint8(IGNORE_LABEL))


def canvas_logits(
    variables: dict, placed: canvas.Canvas, *, apply_fn: Callable, mask_padding: bool
) -> jax.Array:
    """Returns f32[B, h, w, C] for a batch of canvases; see WholeImages."""
    covered: tuple = ()
    if mask_padding:
        height, width = placed.image.shape[1:3]
        covered = (inside.of_sizes(placed.size, height, width),)
    return apply_fn(variables, placed.image, *covered).astype(jnp.float32)


def labels_only(scores: jax.Array, probabilities: jax.Array) -> jax.Array:
    """Returns uint8[...] class ids of scores [..., C]: what evaluation needs."""
    return class_ids(scores)


def of_shares(pixel_fn: Callable) -> Callable:
    """Makes a pixel_fn for scores that are positive: their shares are probabilities."""

    def described(scores, _):
        total = jnp.maximum(jnp.sum(scores, axis=-1, keepdims=True), 1e-30)
        return pixel_fn(scores, scores / total)

    return described


def predict(
    variables: dict,
    placed: canvas.Canvas,
    *,
    pixel_fn: Callable = labels_only,
    **how,
):
    """Returns pixel_fn of a batch of canvases, a tree of [B, H, W, ...].

    Args:
        variables: of the network.
        placed: the batch.
        pixel_fn: (logits f32[..., C], probabilities f32[..., C]) -> tree of [...].
        how: see canvas_logits.
    """
    logits = canvas_logits(variables, placed, **how)

    def described(x):
        return pixel_fn(x, jax.nn.softmax(x, axis=-1))

    return map_native(described, logits, placed.rows, placed.columns)


class WholeImages:
    """Labels images under the `single` protocol; keeps its compiled programs."""

    def __init__(
        self,
        apply_fn: Callable,
        *,
        scale: float,
        bucket: int,
        logits_stride: float,
        align_corners: bool,
        mask_padding: bool,
        batch_size: int,
        devices: list,
        pixel_fn: Callable = labels_only,
    ):
        """Prepares, compiles nothing yet.

        Args:
            apply_fn: (variables, pixel values [B, H, W, 3]) -> logits [B, h, w, C];
                with mask_padding it also takes models.inside.Inside, and leaves out
                all other pixels.
            scale, bucket, logits_stride, align_corners: see canvas.place.
            mask_padding: whether the canvas around an image is left out.
            batch_size: images in a batch, over all devices.
            devices: to use.
            pixel_fn: see predict.
        """
        self._scale, self._bucket = scale, bucket
        self._place = partial(
            canvas.place,
            scale=scale,
            bucket=bucket,
            logits_stride=logits_stride,
            align_corners=align_corners,
            as_alone=mask_padding,
        )
        self._batch_size, self._devices = batch_size, devices
        self._predict = parallel.mapped(
            partial(
                predict,
                apply_fn=apply_fn,
                mask_padding=mask_padding,
                pixel_fn=pixel_fn,
            ),
            (parallel.SHARED, parallel.ROWS),
            devices=devices,
        )

    def view(self, example: dict) -> dict:
        """Returns the example as it is scored: whole."""
        return example

    def ids(
        self, variables: dict, examples: Iterable[dict]
    ) -> Iterator[tuple[list[dict], jax.Array]]:
        """Yields (examples, uint8[devices, b, H, W] class ids on native canvases).

        With another pixel_fn, its tree of [devices, b, H, W, ...] instead.

        A batch never mixes canvas sizes; its last images may be missing.
        """

        def sizes(example: dict):
            height, width = example["image"].shape[:2]
            return canvas.sizes(height, width, self._scale, self._bucket)

        for members in grouping.by_key(examples, self._batch_size, sizes):
            placed = [self._place(np.asarray(member["image"])) for member in members]
            batch = grouping.stack(placed, self._batch_size)
            yield (
                members,
                self._predict(variables, parallel.shard(batch, self._devices)),
            )
