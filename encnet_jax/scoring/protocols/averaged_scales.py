"""The `multiscale` protocol: class probabilities averaged over scales and flips."""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.pods import parallel
from encnet_jax.scoring.forward import Forward
from encnet_jax.scoring.protocols import canvas, grouping
from encnet_jax.scoring.protocols.canvases import AheadOfTime, Canvases, blank
from encnet_jax.scoring.protocols.whole_images import canvas_outputs, map_native


def add_probabilities(
    total: jax.Array,
    logits: jax.Array,
    rows: jax.Array,
    columns: jax.Array,
    *,
    are_probabilities: bool = False,
) -> jax.Array:
    """Adds the softmax of F views' logits [F, h, w, C] to a sum at native size.

    Args:
        total: f32[H, W, C], the sum so far.
        logits, rows, columns: see map_native.
        are_probabilities: `logits` are probabilities; they are upsampled and added.
    """

    def summed(x):
        x = x if are_probabilities else jax.nn.softmax(x, axis=-1)
        return jnp.sum(x, axis=0, keepdims=True)

    return total + map_native(summed, logits.astype(jnp.float32), rows, columns)[0]


class AveragedScales:
    """Averages an image's class probabilities over scales and flips.

    Each view is a whole image, as in the `single` protocol, and the softmax is computed
    at native size.

    Source: section 3.1 of the paper, which averages predictions over multiple scales
    without details; scales and flips are those of the released code.
    """

    def __init__(
        self,
        forward: Forward,
        *,
        scales: tuple[float, ...],
        flip: bool,
        canvases: Canvases,
        devices: list,
        are_probabilities: bool = False,
    ):
        """Stores its arguments; nothing is compiled yet.

        Args:
            forward: the network's forward pass.
            scales: factors of the image's size, after forward.input_scale.
            flip: add the mirrored image at each scale.
            canvases: the canvases for the images.
            devices: the devices to use; each processes its own images.
            are_probabilities: whether forward returns probabilities instead of logits.
        """
        self._scales = [forward.input_scale * scale for scale in scales]
        self._flip, self._canvases, self._devices = flip, canvases, devices
        self._convention: dict[str, Any] = {
            "bucket": canvases.bucket,
            "logits_stride": forward.logits_stride,
            "align_corners": forward.align_corners,
            "as_alone": forward.mask_padding,
        }
        layout = parallel.SHARED, parallel.ROWS
        self._forward = AheadOfTime(
            parallel.mapped(
                partial(canvas_outputs, forward=forward), layout, devices=devices
            ),
            [(*room, scale) for room in canvases.rooms for scale in self._scales],
            lambda key: (self._batch([blank(key)], key),),
        )
        add = partial(add_probabilities, are_probabilities=are_probabilities)
        self._add = parallel.mapped(add, donate=(0,), devices=devices)
        self._empty = parallel.mapped(
            lambda rows, columns: jnp.zeros(
                (rows.shape[1], columns.shape[1], forward.num_classes)
            ),
            devices=devices,
        )

    @property
    def num_views(self) -> int:
        """Number of views of an image that are averaged."""
        return len(self._scales) * (2 if self._flip else 1)

    def scores(
        self, variables: dict, examples: Iterable[dict]
    ) -> Iterator[tuple[list[dict], jax.Array, jax.Array | None]]:
        """Yields (examples, probabilities summed over views, presence).

        Probabilities are f32[devices, H, W, C]. Presence is f32[devices, C], the mean
        over views; None without an SE branch.

        Args:
            variables: the network's variables, on the devices.
            examples: dicts with image [H, W, 3] of pixel values.
        """

        def sizes(example: dict):
            room = self._canvases.room(*example["image"].shape[:2])
            return tuple(
                canvas.sizes(*room, scale, self._canvases.bucket)
                for scale in self._scales
            )

        for members in grouping.by_key(examples, len(self._devices), sizes):
            room = self._canvases.room(*members[0]["image"].shape[:2])
            total: Any = None
            presence: list[jax.Array | None] = []
            for scale in self._scales:
                views = self._batch(members, (*room, scale))
                if total is None:
                    total = self._empty(views.rows, views.columns)
                outputs = self._forward((*room, scale), variables, views)
                total = self._add(total, outputs.logits, views.rows, views.columns)
                presence.append(outputs.presence)
            yield members, total, _mean(presence)

    def _batch(self, members: list[dict], key: tuple) -> canvas.Canvas:
        """Returns the views of examples on canvases (height, width, scale)."""
        views = [self._views(member["image"], key) for member in members]
        return parallel.spread(grouping.stack(views, len(self._devices)), self._devices)

    def _views(self, image: np.ndarray, key: tuple) -> canvas.Canvas:
        """Returns the image and its mirror image at a scale, stacked to [F, ...]."""
        room, scale = key[:2], key[2]

        def place(pixels: np.ndarray) -> canvas.Canvas:
            return canvas.place(pixels, scale=scale, room=room, **self._convention)

        views = [place(image)]
        if self._flip:
            mirrored = place(image[:, ::-1])
            columns, width = mirrored.columns.copy(), image.shape[1]
            columns[:width] = columns[:width][::-1]  # Scores are mirrored back.
            views.append(mirrored._replace(columns=columns))
        return grouping.stack(views, len(views))


def _mean(presence: list[jax.Array | None]) -> jax.Array | None:
    """Returns the mean over scales and views of f32[devices, F, C] each."""
    found = [each for each in presence if each is not None]
    return jnp.mean(jnp.concatenate(found, axis=1), axis=1) if found else None
