"""The `release` protocol: applies the network to sliding windows of scaled images.

All windows have the same size and are processed in batches of the same size, so the
network is compiled only once for a data set. The programs that crop windows and add
scores are small; they are compiled for each padded image size.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.models.inside import Inside
from encnet_jax.models.resize import interpolation_matrix
from encnet_jax.pods import parallel
from encnet_jax.scoring.forward import Forward
from encnet_jax.scoring.protocols import PROTOCOLS, canvas, grouping, windows
from encnet_jax.scoring.protocols.canvases import Canvases
from encnet_jax.scoring.protocols.protocol import Protocol

# Limit for logits: the sum of exp() over windows would overflow for larger logits.
MAX_EXPONENT = 80.0


def cut(image: jax.Array, rows: jax.Array, columns: jax.Array) -> tuple:
    """Scales an image and crops one window of the scaled image.

    Args:
        image: [H, W, 3], the original image; pixel values in 0..255, any dtype.
        rows, columns: fields cut_rows and cut_columns of a windows.Window.

    Returns:
        (window, rows_inside, columns_inside). The window is f32[crop, crop, 3]. The
        other two arrays are f32[crop]: 1 for rows or columns inside the image, else 0.
    """
    matrices = [
        windows.tap_matrix(t, n)
        for t, n in zip((rows, columns), image.shape[:2], strict=True)
    ]
    # Full precision: rounded weights would change pixels by about one grey level.
    x = jnp.einsum(
        "rh,hwc->rwc", matrices[0], image.astype(jnp.float32), precision="highest"
    )
    x = jnp.einsum("sw,rwc->rsc", matrices[1], x, precision="highest")
    covered = (jnp.any(t[:, 1:] != 0, axis=1) for t in (rows, columns))
    return x, *(each.astype(jnp.float32) for each in covered)


def window_scores(
    variables: dict,
    pixels: tuple,
    *,
    forward: Forward,
    flip: bool,
) -> tuple[tuple[jax.Array, ...], jax.Array | None]:
    """Applies a network to windows; returns exp(upsampled logits) as scores.

    Args:
        variables: variables of the network.
        pixels: for each of n windows, the result of `cut`.
        forward: the network's forward pass.
        flip: whether to also process the mirror image of each window. The logits of a
            window and of its mirror image are added; the class presences are averaged.

    Returns:
        (scores, presence). The scores are n arrays f32[crop, crop, C]. `presence` is
        f32[n, C], the probability that each class occurs in the window, or None if the
        network has no SE branch.
    """
    x, rows, columns = map(jnp.stack, zip(*pixels, strict=True))
    if flip:
        x = jnp.concatenate([x, x[:, :, ::-1]])
        rows = jnp.concatenate([rows, rows])
        columns = jnp.concatenate([columns, columns[:, ::-1]])
    covered = (Inside(rows, columns),) if forward.mask_padding else ()
    logits, presence = forward.apply_fn(variables, x, *covered)
    if flip:
        if presence is not None:
            presence = sum(jnp.split(presence, 2)) / 2
        logits, mirrored = jnp.split(logits, 2)
        # Mirroring before upsampling is equivalent and faster.
        logits = logits + mirrored[:, :, ::-1]
    logits = logits.astype(jnp.float32)
    upsampling = [
        interpolation_matrix(x.shape[axis], logits.shape[axis], forward.align_corners)
        for axis in (1, 2)
    ]

    def upsampled_exp(y):
        # 'high', or the TPU would round the weights to bfloat16.
        y = jnp.einsum("Hh,hwc->Hwc", upsampling[0], y, precision="high")
        y = jnp.einsum("Ww,Hwc->HWc", upsampling[1], y, precision="high")
        return jnp.exp(jnp.minimum(y, MAX_EXPONENT))

    return tuple(upsampled_exp(y) for y in logits), presence


def largest_presence(
    so_far: jax.Array, presence: jax.Array, paste_rows: jax.Array
) -> jax.Array:
    """Returns the maximum class presence over the windows so far, f32[C].

    Args:
        so_far: f32[C], the maximum over the previous windows of the image.
        presence: f32[C], probability that each class occurs in this window.
        paste_rows: field of this window's windows.Window. If all weights are 0, the
            window is not part of the image, and `presence` is ignored.
    """
    shown = jnp.any(paste_rows[:, 1:] != 0)
    return jnp.where(shown, jnp.maximum(so_far, presence), so_far)


def paste(total: jax.Array, scores: jax.Array, rows: jax.Array, columns: jax.Array):
    """Resizes the scores of a window and adds the result to the scores of the image.

    Args:
        total: f32[H, W, C], sum of scores at the original size of the image with
            padding.
        scores: f32[crop, crop, C], scores of the window.
        rows, columns: fields paste_rows and paste_columns of a windows.Window.

    Returns:
        f32[H, W, C], the new sum.
    """
    rows, columns = (
        windows.tap_matrix(t, n)
        for t, n in zip((rows, columns), scores.shape[:2], strict=True)
    )
    x = jnp.einsum("Hh,hwc->Hwc", rows, scores, precision="high")
    return total + jnp.einsum("Ww,Hwc->HWc", columns, x, precision="high")


@dataclass
class _Round:
    """A group of images, one on each device, and the progress of their windows."""

    members: list[dict]
    pixels: np.ndarray
    windows: list
    total: jax.Array | None = None
    presence: jax.Array | None = None
    done: int = 0


class SlidingWindows:
    """Computes class scores of images: sums the scores of the sliding windows."""

    def __init__(
        self,
        forward: Forward,
        settings: Any,
        *,
        canvases: Canvases,
        batch_size: int,
        devices: list,
    ):
        """Stores the arguments; nothing is compiled yet.

        Args:
            forward: the network's forward pass.
            settings: section `eval` of the configuration, with the fields `scales`,
                `flip`, `base_size` and `crop_size`.
            canvases: the sizes to which images are padded before scaling. The padding
                does not affect the scores.
            batch_size: number of windows in a batch on each device, not counting
                mirrored windows.
            devices: the devices to use.
        """
        self._geometry = {
            "scales": tuple(settings.scales),
            "base_size": settings.base_size,
            "crop_size": settings.crop_size,
        }
        self._align_corners, self._canvases = forward.align_corners, canvases
        self._batch_size, self._devices = batch_size, devices
        self._cut = parallel.mapped(cut, devices=devices)
        scores = partial(window_scores, forward=forward, flip=settings.flip)
        layout = parallel.SHARED, parallel.ROWS
        self._forward = parallel.mapped(scores, layout, devices=devices)
        self._paste = parallel.mapped(paste, donate=(0,), devices=devices)
        self._largest = parallel.mapped(largest_presence, devices=devices)
        self._empty = parallel.mapped(
            lambda image: jnp.zeros((*image.shape[:2], forward.num_classes)),
            devices=devices,
        )

    def scores(
        self, variables: dict, examples: Iterable[dict]
    ) -> Iterator[tuple[list[dict], jax.Array, jax.Array | None]]:
        """Yields the class scores of one image per device at a time.

        Args:
            variables: variables of the network, replicated on the devices.
            examples: dicts with 'image' [H, W, 3] of pixel values.

        Yields:
            (examples, scores, presence). `scores` is f32[devices, H, W, C], the sum
            over windows and scales; H and W include padding. `presence` is
            f32[devices, C], the maximum over windows of the probability that each class
            occurs, or None if the network has no SE branch.
        """
        queue = []
        for round_ in self._rounds(examples):
            pixels = parallel.spread(round_.pixels, self._devices)
            round_.total = self._empty(pixels)
            for window in round_.windows:
                cut_out = self._cut(pixels, window.cut_rows, window.cut_columns)
                queue.append((round_, window, cut_out))
                if len(queue) == self._batch_size:
                    yield from self._run(variables, queue)
                    queue = []
        if queue:
            yield from self._run(variables, queue)

    def _run(self, variables, queue):
        pixels = [cut_out for _, _, cut_out in queue]
        pixels += pixels[-1:] * (self._batch_size - len(pixels))
        batch, presence = self._forward(variables, tuple(pixels))
        for number, ((round_, window, _), scores) in enumerate(
            zip(queue, batch, strict=False)
        ):
            round_.total = self._paste(
                round_.total, scores, window.paste_rows, window.paste_columns
            )
            if presence is not None:
                round_.presence = self._add_presence(round_, window, presence, number)
            round_.done += 1
            if round_.done == len(round_.windows):
                yield round_.members, round_.total, round_.presence

    def _add_presence(self, round_, window, presence, number: int) -> jax.Array:
        own = presence[:, number]
        if round_.presence is None:
            round_.presence = jnp.zeros_like(own)
        return self._largest(round_.presence, own, window.paste_rows)

    def _rounds(self, examples: Iterable[dict]) -> Iterator[_Round]:
        def similar(example):
            size = example["image"].shape[:2]
            return windows.num_windows(*size, **self._geometry), size

        count = len(self._devices)
        for members in grouping.by_similarity(examples, count, similar):
            images = [member["image"] for member in members]
            sides = [max(i.shape[axis] for i in images) for axis in (0, 1)]
            room = self._canvases.room(*sides)
            height, width = canvas.sizes(*room, 1.0, self._canvases.bucket)[1]
            plans = [
                windows.plan(
                    *image.shape[:2],
                    (height, width),
                    align_corners=self._align_corners,
                    **self._geometry,
                )
                for image in images
            ]
            yield _Round(
                members,
                grouping.stack(
                    [canvas.pad(image, height, width, 0) for image in images], count
                ),
                # Images with fewer windows are padded with windows that add 0.
                [grouping.stack(list(each), count) for each in _zip_longest(plans)],
            )


def _zip_longest(plans: list) -> Iterator[list]:
    """Yields the first window of every image, then the second windows, etc.

    Args:
        plans: the windows of each image. Images with fewer windows are given windows in
            which all arrays are zero.
    """
    nothing = jax.tree.map(np.zeros_like, plans[0][0])
    for index in range(max(map(len, plans))):
        yield [plan[index] if index < len(plan) else nothing for plan in plans]


@PROTOCOLS.register(
    "release",
    reported=("eval.base_size", "eval.crop_size", "eval.scales", "eval.flip"),
)
class Release(Protocol):
    """Evaluates sliding windows of scaled images, as in the authors' released code."""

    def scorer(self):
        """Returns a scorer for sliding windows; see Protocol.scorer."""
        return SlidingWindows(
            self.forward,
            self.eval_config,
            canvases=self.canvases,
            batch_size=self.batch_size // len(self.devices),
            devices=self.devices,
        )
