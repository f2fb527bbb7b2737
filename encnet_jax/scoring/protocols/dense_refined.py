"""Labels images by the scores of any protocol, after refinement by a dense CRF."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.crf import dense
from encnet_jax.errors import UserError
from encnet_jax.pods import parallel
from encnet_jax.scoring.protocols import canvas, grouping
from encnet_jax.scoring.protocols.whole_images import (
    Described,
    labels_only,
    of_shares,
)

FIELDS = (
    *(f"eval.dense.{name}" for name in dense.DenseParams._fields),
    "eval.dense.radius",
    "eval.dense.iterations",
)
REFINED_FIELDS = {"none": (), "dense": FIELDS}  # Fields that a report states.


def params_of(settings) -> dense.DenseParams:
    """Returns the parameters of the kernels from `eval.dense`."""
    return dense.DenseParams(*(getattr(settings, n) for n in dense.DenseParams._fields))


def refined_ids(
    total: jax.Array,
    image: jax.Array,
    size: jax.Array,
    params: dense.DenseParams,
    *labels: jax.Array,
    radius: int,
    iterations: int,
    pixel_fn: Callable = labels_only,
):
    """Refines one padded image's scores by the dense CRF, and applies pixel_fn.

    Args:
        total: f32[H, W, C], class scores, summed over views.
        image: uint8[H, W, 3].
        size: int32[2], the image's own height and width; pixels outside are ignored
            and have no meaningful result.
        params, radius, iterations: see dense.refine.
        labels: optionally uint8[H, W], passed to pixel_fn.
        pixel_fn: see whole_images.predict.

    Returns:
        The result of pixel_fn, a tree of arrays [1, H, W, ...].
    """
    inside = [jnp.arange(n) < size[i] for i, n in enumerate(total.shape[:2])]
    valid = inside[0][:, None] & inside[1][None]
    # Some protocols' sums are 0 outside the image: avoid a division by 0.
    sums = jnp.maximum(jnp.sum(total, axis=-1, keepdims=True), 1e-30)
    refined = dense.refine(
        total / sums,
        image,
        params,
        radius=radius,
        iterations=iterations,
        valid=valid,
    )
    described = of_shares(pixel_fn)(refined, None, *labels)
    return jax.tree.map(lambda x: x[None], described)


class DenseRefined:
    """Labels images by refined scores; each device processes its own image."""

    def __init__(
        self,
        scorer,
        settings,
        devices: list,
        pixel_fn: Callable = labels_only,
        with_labels: bool = False,
    ):
        """Takes a protocol with a method `scores`, and `eval.dense`.

        Args:
            scorer: yields (examples, f32[devices, H, W, C] summed scores, presence).
            settings: `eval.dense`.
            devices: the devices that the scorer uses.
            pixel_fn, with_labels: see whole_images.WholeImages.
        """
        self._with_labels = with_labels
        self._scorer, self._devices = scorer, devices
        self._params, self._radius = params_of(settings), settings.radius
        self._refine = make_refine(settings, devices, pixel_fn, with_labels)

    def describe(
        self, variables: dict, examples: Iterable[dict]
    ) -> Iterator[tuple[list[dict], Described]]:
        """Yields (examples, results on native canvases), an image on each device.

        Raises:
            UserError: a window is larger than an image.
        """
        examples = (checked(example, self._radius) for example in examples)
        for members, total, presence in self._scorer.scores(variables, examples):
            placed = place(members, total.shape[1:3], self._devices)
            labels: tuple = ()
            if self._with_labels:
                laid = canvas.lay_labels(members, len(total), total.shape[1:3])
                labels = (parallel.spread(laid, self._devices),)
            pixels = self._refine(total, *placed, self._params, *labels)
            yield members, Described.one_each(pixels, presence)


def make_refine(
    settings,
    devices: list,
    pixel_fn: Callable = labels_only,
    with_labels: bool = False,
) -> Callable:
    """Returns refined_ids mapped over devices, with the same parameters on all."""
    refine = partial(
        refined_ids,
        radius=settings.radius,
        iterations=settings.iterations,
        pixel_fn=pixel_fn,
    )
    rows = (parallel.ROWS,)
    layout = *3 * rows, parallel.SHARED, *with_labels * rows
    return parallel.mapped(refine, layout, devices=devices)


def checked(example: dict, radius: int) -> dict:
    """Returns an example whose image is at least as large as a window of the CRF.

    Raises:
        UserError: the image is smaller.
    """
    height, width = example["image"].shape[:2]
    if 2 * radius + 1 > min(height, width):
        raise UserError(
            f"eval.dense.radius is {radius}, so windows have {2 * radius + 1} pixels a"
            f" side, but {example.get('id', 'an image')} has only {height}x{width}: set"
            f" it to {(min(height, width) - 1) // 2} or less"
        )
    return example


def place(members: list[dict], room: tuple[int, int], devices: list) -> tuple:
    """Returns the members' images uint8[devices, H, W, 3] and sizes int32[devices, 2].

    Args:
        members: examples, at most one per device.
        room: (H, W) of the canvas.
        devices: the devices to place them on.
    """
    images = [canvas.pad(np.asarray(m["image"]), *room, 0) for m in members]
    sizes = [np.asarray(m["image"].shape[:2], np.int32) for m in members]
    stacked = grouping.stack(list(zip(images, sizes, strict=True)), len(devices))
    return parallel.spread(stacked, devices)
