"""Refines the class scores of any protocol by a dense CRF, and predicts label maps."""

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
# Value of eval.refine -> fields that evaluation reports must contain.
REFINED_FIELDS = {"none": (), "dense": FIELDS}


def params_of(settings) -> dense.DenseParams:
    """Returns the CRF's kernel parameters from section `eval.dense`."""
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
    """Refines the scores of one padded image by a dense CRF, then applies `pixel_fn`.

    The padding does not affect the results for the pixels of the image.

    Args:
        total: f32[H, W, C], non-negative, proportional to the class probabilities.
        image: uint8[H, W, 3], padded at the right and bottom.
        size: int32[2], height and width without padding.
        params, radius, iterations: see dense.refine.
        labels: optionally one array uint8[H, W], which is passed to `pixel_fn`.
        pixel_fn: function that computes the result for each pixel; see
            whole_images.predict.

    Returns:
        The result of `pixel_fn`, a pytree of arrays [1, H, W, ...]; values in the
        padding are meaningless.
    """
    inside = [jnp.arange(n) < size[i] for i, n in enumerate(total.shape[:2])]
    valid = inside[0][:, None] & inside[1][None]
    # In some protocols, the sums are 0 outside the image; avoid a division by 0.
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
    """Predicts label maps from class scores, which are first refined by a dense CRF."""

    def __init__(
        self,
        scorer,
        settings,
        devices: list,
        pixel_fn: Callable = labels_only,
        with_labels: bool = False,
    ):
        """Stores the arguments; nothing is compiled yet.

        Args:
            scorer: see Protocol.scorer.
            settings: section `eval.dense` of the configuration.
            devices: the devices that `scorer` uses.
            pixel_fn, with_labels: see whole_images.WholeImages.
        """
        self._with_labels = with_labels
        self._scorer, self._devices = scorer, devices
        self._params, self._radius = params_of(settings), settings.radius
        self._refine = make_refine(settings, devices, pixel_fn, with_labels)

    def describe(
        self, variables: dict, examples: Iterable[dict]
    ) -> Iterator[tuple[list[dict], Described]]:
        """Yields the results of one image per device at a time.

        Args:
            variables: variables of the network, replicated on the devices.
            examples: dicts with 'image' uint8[H, W, 3] and, if `with_labels` is set,
                'label' uint8[H, W].

        Yields:
            (examples, results), where the results are a whole_images.Described.

        Raises:
            UserError: an image is smaller than a window of the CRF.
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
    """Returns a function that applies refined_ids to one image on each device.

    Args:
        settings: section `eval.dense` of the configuration.
        devices: the devices to use.
        pixel_fn, with_labels: see whole_images.WholeImages.

    Returns:
        A function (total, image, size, params, *labels) -> results; see refined_ids.
        All arrays except `params` have a leading axis of devices.
    """
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
    """Returns the example, after checking that the image is large enough for the CRF.

    Args:
        example: dict with 'image' uint8[H, W, 3].
        radius: radius of the CRF's windows in pixels. A window has a height and a width
            of 2 * radius + 1.

    Raises:
        UserError: the height or the width of the image is smaller than a window.
    """
    height, width = example["image"].shape[:2]
    if 2 * radius + 1 > min(height, width):
        most = (min(height, width) - 1) // 2
        advice = f"set eval.dense.radius to {most} or less" if most else "remove it"
        raise UserError(
            f"image {example.get('id', '?')} has {height}x{width} pixels; expected at"
            f" least {2 * radius + 1}x{2 * radius + 1} for eval.dense.radius ="
            f" {radius}; {advice}"
        )
    return example


def place(members: list[dict], room: tuple[int, int], devices: list) -> tuple:
    """Pads images to a common size and copies one image to each device.

    Args:
        members: examples, at most one per device.
        room: (H, W) of the padded images in pixels.
        devices: the devices to use.

    Returns:
        (images, sizes): the padded images, uint8[devices, H, W, 3], and the (height,
        width) of each image without padding, int32[devices, 2].
    """
    images = [canvas.pad(np.asarray(m["image"]), *room, 0) for m in members]
    sizes = [np.asarray(m["image"].shape[:2], np.int32) for m in members]
    stacked = grouping.stack(list(zip(images, sizes, strict=True)), len(devices))
    return parallel.spread(stacked, devices)
