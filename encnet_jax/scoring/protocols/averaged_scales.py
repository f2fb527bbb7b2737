"""Averages class probabilities over scales and mirror images."""

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
    """Adds the class probabilities of an image at one scale to a running sum.

    Logits are upsampled to the original size of the image before the softmax.

    Args:
        total: f32[H, W, C], the sum so far.
        logits: [F, h, w, C]; F is 1, or 2 for an image and its mirror image.
        rows, columns: f32[F, H, h] and f32[F, W, w], matrices that upsample the rows
            and the columns of the logits.
        are_probabilities: True if `logits` contains probabilities, to which no softmax
            is applied.

    Returns:
        f32[H, W, C], the new sum.
    """

    def summed(x):
        x = x if are_probabilities else jax.nn.softmax(x, axis=-1)
        return jnp.sum(x, axis=0, keepdims=True)

    return total + map_native(summed, logits.astype(jnp.float32), rows, columns)[0]


class AveragedScales:
    """Sums the class probabilities of an image over scales and mirror images.

    The network processes the whole image at each scale and, optionally, its mirror
    image. The softmax is computed at the original size of the image.

    Source: section 3.1 of the paper averages predictions over scales, but does not
    state the scales. The scales and the mirroring are from the released code.
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
        """Stores the arguments; nothing is compiled yet.

        Args:
            forward: the network's forward pass.
            scales: factors by which images are resized, in addition to
                forward.input_scale.
            flip: whether to add the mirror image at each scale.
            canvases: the sizes to which images are padded.
            devices: the devices to use; each device processes different images.
            are_probabilities: whether `forward` returns probabilities, not logits.
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
        """The number of scaled and mirrored versions of an image that are summed."""
        return len(self._scales) * (2 if self._flip else 1)

    def scores(
        self, variables: dict, examples: Iterable[dict]
    ) -> Iterator[tuple[list[dict], jax.Array, jax.Array | None]]:
        """Yields summed class probabilities, for one image per device at a time.

        Args:
            variables: variables of the network, replicated on the devices.
            examples: dicts with 'image' [H, W, 3] of pixel values.

        Yields:
            (examples, probabilities, presence). `probabilities` is
            f32[devices, H, W, C], the sum over scales and mirror images; H and W
            include padding. `presence` is f32[devices, C], the mean probability that
            each class occurs in the image, or None if the network has no SE branch.
            There can be fewer examples than devices.
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
        """Returns the padded images of examples at one scale, on the devices.

        Args:
            members: at most one example per device.
            key: (height, width, scale). All images are padded as an image of this
                height and width would be.
        """
        views = [self._views(member["image"], key) for member in members]
        return parallel.spread(grouping.stack(views, len(self._devices)), self._devices)

    def _views(self, image: np.ndarray, key: tuple) -> canvas.Canvas:
        """Returns the padded image and, if `flip` is set, the padded mirror image.

        Args:
            image: [H, W, 3].
            key: see _batch.

        Returns:
            A Canvas whose arrays have a leading axis of length 1 or 2.
        """
        room, scale = key[:2], key[2]

        def place(pixels: np.ndarray) -> canvas.Canvas:
            return canvas.place(pixels, scale=scale, room=room, **self._convention)

        views = [place(image)]
        if self._flip:
            mirrored = place(image[:, ::-1])
            columns, width = mirrored.columns.copy(), image.shape[1]
            columns[:width] = columns[:width][::-1]  # Mirrors the scores back.
            views.append(mirrored._replace(columns=columns))
        return grouping.stack(views, len(views))


def _mean(presence: list[jax.Array | None]) -> jax.Array | None:
    """Averages class presence over scales and mirror images.

    Args:
        presence: for each scale f32[devices, F, C], probability that each class occurs
            in each of F images; None if the network has no SE branch.

    Returns:
        f32[devices, C], or None if the network has no SE branch.
    """
    found = [each for each in presence if each is not None]
    return jnp.mean(jnp.concatenate(found, axis=1), axis=1) if found else None
