"""The `release` protocol: sliding windows over scaled images, many at a time.

Windows of consecutive images fill batches of one static shape, so the network is
compiled once for a data set. Each device processes its own images. Only the sizes of
canvases, and the small programs around the network, depend on the images.
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

# Limit for logits: exp() of larger ones would overflow in sums of windows.
MAX_EXPONENT = 80.0


def cut(image: jax.Array, rows: jax.Array, columns: jax.Array) -> tuple:
    """Cuts a window out of an image [H, W, 3], scaling it.

    Args:
        image: pixel values in 0..255, any type.
        rows, columns: taps of the window; see encnet_jax.scoring.protocols.windows.

    Returns:
        (f32[crop, crop, 3], its rows and columns inside of the image f32[crop] each).
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
    """Returns each window's scores, exp(logits), and presence.

    Scores are a tuple of f32[crop, crop, C], one for each window. Presence is f32[n,
    C], the mean of a window and its mirror image; None without an SE branch.

    Args:
        variables: the network's variables.
        pixels: (f32[crop, crop, 3] in 0..255, f32[crop] rows and columns inside of the
            image) each; see Inside.
        forward: the network's forward pass.
        flip: add the logits of the mirrored window before taking exp.
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
        # Mirroring before upsampling is equivalent and has fewer pixels.
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
    """Returns the maximum presence f32[C]; windows of padding are ignored.

    Args:
        so_far, presence: f32[C].
        paste_rows: taps of the window; all zero for a window that only completes a
            batch.
    """
    shown = jnp.any(paste_rows[:, 1:] != 0)
    return jnp.where(shown, jnp.maximum(so_far, presence), so_far)


def paste(total: jax.Array, scores: jax.Array, rows: jax.Array, columns: jax.Array):
    """Adds a window's scores [crop, crop, C], resized, to the native f32[H, W, C]."""
    rows, columns = (
        windows.tap_matrix(t, n)
        for t, n in zip((rows, columns), scores.shape[:2], strict=True)
    )
    x = jnp.einsum("Hh,hwc->Hwc", rows, scores, precision="high")
    return total + jnp.einsum("Ww,Hwc->HWc", columns, x, precision="high")


@dataclass
class _Round:
    """One image per device, while its windows are processed."""

    members: list[dict]
    pixels: np.ndarray
    windows: list
    total: jax.Array | None = None
    presence: jax.Array | None = None
    done: int = 0


class SlidingWindows:
    """Scores images with the `release` protocol; caches compiled programs."""

    def __init__(
        self,
        forward: Forward,
        settings: Any,
        *,
        canvases: Canvases,
        batch_size: int,
        devices: list,
    ):
        """Stores its arguments; nothing is compiled yet.

        Args:
            forward: the network's forward pass.
            settings: section `eval`; its scales, flip, base_size and crop_size.
            canvases: the canvases for images at their native size; they do not affect
                results.
            batch_size: windows in a batch of each device, without their mirror images.
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
        """Yields (examples, summed scores, presence), on the devices.

        Scores are f32[devices, H, W, C]. Presence is f32[devices, C], the maximum over
        an image's windows; None without an SE branch.

        Args:
            variables: the network's variables, on the devices.
            examples: dicts with image [H, W, 3] of pixel values.
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
                # If an image has fewer windows, taps of zero add nothing.
                [grouping.stack(list(each), count) for each in _zip_longest(plans)],
            )


def _zip_longest(plans: list) -> Iterator[list]:
    """Yields window 0 of all plans, window 1, ...; short plans end with zeros."""
    nothing = jax.tree.map(np.zeros_like, plans[0][0])
    for index in range(max(map(len, plans))):
        yield [plan[index] if index < len(plan) else nothing for plan in plans]


@PROTOCOLS.register(
    "release",
    reported=("eval.base_size", "eval.crop_size", "eval.scales", "eval.flip"),
)
class Release(Protocol):
    """Sliding windows over scaled images, as in the authors' released code."""

    def scorer(self):
        """See Protocol.scorer."""
        return SlidingWindows(
            self.forward,
            self.eval_config,
            canvases=self.canvases,
            batch_size=self.batch_size // len(self.devices),
            devices=self.devices,
        )
