"""Evaluation: every image once, on all devices, into one integer confusion matrix."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from tqdm import tqdm

from encnet_jax import canvas, parallel
from encnet_jax.losses import IGNORE_LABEL
from encnet_jax.metrics import ConfusionMatrix, count_pairs
from encnet_jax.preprocess import normalise

ROW_BLOCKS = 8  # Full-resolution logits exist for this part of the rows at a time.


def native_ids(logits: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Maps logits to class ids on each image's native canvas.

    Args:
        logits: f32[B, h, w, C].
        rows: f32[B, H, h]; columns: f32[B, W, w]; see encnet_jax.canvas.

    Returns:
        uint8[B, H, W]; what lies outside the image is meaningless.
    """
    height = rows.shape[1]
    block = -(-height // ROW_BLOCKS)
    rows = jnp.pad(rows, ((0, 0), (0, block * ROW_BLOCKS - height), (0, 0)))
    blocks = rows.reshape(rows.shape[0], ROW_BLOCKS, block, -1).swapaxes(0, 1)

    def ids_of_block(block_rows):
        # 'high', or the TPU would round the weights to bfloat16 and flip 1 % of the ids.
        x = jnp.einsum("brh,bhwc->brwc", block_rows, logits, precision="high")
        x = jnp.einsum("bWw,brwc->brWc", columns, x, precision="high")
        return jnp.argmax(x, axis=-1).astype(jnp.uint8)

    ids = jax.lax.map(ids_of_block, blocks).swapaxes(0, 1)
    return ids.reshape(ids.shape[0], -1, ids.shape[-1])[:, :height]


def predict_step(variables: dict, batch: dict, *, model) -> jax.Array:
    """Returns uint8[B, H, W] ids for a batch of canvases (image, rows, columns)."""
    outputs = model.apply(variables, normalise(batch["image"]), train=False)
    return native_ids(outputs["logits"], batch["rows"], batch["columns"])


def count_step(variables: dict, batch: dict, *, model, num_classes: int) -> jax.Array:
    """Returns int32[C, C] pairs of (label, prediction) in a batch with label uint8[B, H, W]."""
    ids = predict_step(variables, batch, model=model)
    # One image at a time: float32 counts to 2**24 exactly, a batch may hold more pixels.
    pairs = jax.lax.map(
        lambda pair: count_pairs(pair[0].ravel(), pair[1].ravel(), num_classes),
        (batch["label"], ids),
    )
    return jnp.sum(pairs, axis=0)


def canvas_batches(
    examples: Iterable[dict], batch_size: int, place
) -> Iterator[tuple[list[dict], dict[str, np.ndarray]]]:
    """Groups examples by canvas size into batches of one size.

    Args:
        examples: dicts with image uint8[H, W, 3] and perhaps label uint8[H, W].
        batch_size: images in a batch; the last of each size is filled with zeros.
        place: maps an image to a Canvas.

    Yields:
        (the examples, {'image', 'rows', 'columns', and 'label' if given} with
        batch_size rows; filled up labels are IGNORE_LABEL).
    """
    waiting = defaultdict(list)
    for example in examples:
        placed = place(example["image"])
        arrays = placed._asdict()
        if "label" in example:
            size = placed.rows.shape[0], placed.columns.shape[0]
            arrays["label"] = canvas.pad(example["label"], *size, IGNORE_LABEL)
        key = tuple(array.shape for array in arrays.values())
        waiting[key].append((example, arrays))
        if len(waiting[key]) == batch_size:
            yield _stack(waiting.pop(key), batch_size)
    for group in waiting.values():
        yield _stack(group, batch_size)


def _stack(group: list, batch_size: int) -> tuple[list[dict], dict[str, np.ndarray]]:
    examples, arrays = zip(*group, strict=True)
    stacked = {}
    for name in arrays[0]:
        rows = np.stack([a[name] for a in arrays])
        fill = IGNORE_LABEL if name == "label" else 0
        widths = [(0, batch_size - len(rows))] + [(0, 0)] * (rows.ndim - 1)
        stacked[name] = np.pad(rows, widths, constant_values=fill)
    return list(examples), stacked


class Evaluator:
    """Scores and predicts with one model; keeps its compiled programs.

    Every process works through its own images on its own devices without waiting for
    others, so differing image sizes cannot deadlock; only the sums are exchanged.
    """

    def __init__(self, model, config, num_classes: int):
        """Takes a module without a batch-norm axis and the resolved configuration."""
        self.num_classes = num_classes
        self._place = partial(
            canvas.place,
            scale=config.data.input_scale,
            bucket=config.eval.bucket,
            output_stride=config.model.output_stride,
            align_corners=config.model.align_corners,
        )
        devices = jax.local_device_count()
        share = config.eval.batch_size // jax.process_count()
        self._batch_size = max(devices, share // devices * devices)
        in_axes = {"in_axes": (None, 0), "devices": jax.local_devices()}
        self._predict = jax.pmap(partial(predict_step, model=model), **in_axes)
        count = partial(count_step, model=model, num_classes=num_classes)
        self._count = jax.pmap(count, **in_axes)

    def confusion(
        self, variables: dict, examples: Iterable[dict], total: int | None = None
    ) -> ConfusionMatrix:
        """Counts every pixel of this process's examples, summed over all processes.

        Args:
            variables: replicated on the local devices.
            examples: dicts with image uint8[H, W, 3], label uint8[H, W].
            total: their number, for the progress bar; None shows none.
        """
        counts = np.zeros((self.num_classes, self.num_classes), np.int64)
        with tqdm(total=total, desc="evaluate", unit="image", disable=not total) as bar:
            for members, arrays in canvas_batches(examples, self._batch_size, self._place):
                pairs = self._count(variables, parallel.shard(arrays))
                counts += np.asarray(pairs, np.int64).sum(0)
                bar.update(len(members))
        if jax.process_count() > 1:
            # The exchange is 32 bits wide: send the halves apart.
            halves = np.stack([counts >> 24, counts & 0xFFFFFF]).astype(np.int32)
            high, low = multihost_utils.process_allgather(halves).astype(np.int64).sum(0)
            counts = (high << 24) + low
        return ConfusionMatrix.from_counts(counts)

    def predict(
        self, variables: dict, examples: Iterable[dict]
    ) -> Iterator[tuple[dict, np.ndarray]]:
        """Yields (example, uint8[H, W] class ids), in the order batches fill up."""
        for members, arrays in canvas_batches(
            ({k: v for k, v in e.items() if k != "label"} | {"example": e} for e in examples),
            self._batch_size,
            self._place,
        ):
            ids = np.asarray(self._predict(variables, parallel.shard(arrays)))
            ids = ids.reshape(-1, *ids.shape[2:])
            for member, native in zip(members, ids, strict=False):
                height, width = member["image"].shape[:2]
                yield member["example"], native[:height, :width]
