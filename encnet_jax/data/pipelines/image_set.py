"""Makes batches from small images in memory, with one label per image.

Images are randomly shifted and mirrored, either on the host or on the devices. The
batches are the same in both cases.
"""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.data.pipelines.dataset import Dataset
from encnet_jax.data.pipelines.order import BatchOrder
from encnet_jax.data.sources.image_arrays import ImageArrays
from encnet_jax.pods import parallel

_CROP_STREAM = 2  # Makes these random numbers independent of others with this seed.


def draw_crops(
    batch_size: int, *, pad: int, flip: bool, seed: int, step: int
) -> dict[str, np.ndarray]:
    """Samples a crop position, and whether to mirror, for each image of a global batch.

    Args:
        batch_size: number of images in the global batch.
        pad: padding at each edge of an image, pixels.
        flip: whether to mirror each image with probability 1/2; if False, no image is
            mirrored.
        seed, step: The seed of the run and the index of the batch. The random numbers
            depend only on these two values.

    Returns:
        A dict with:
        top, left: int32[batch_size], position of each crop in the padded image, pixels
            from 0 to 2 * pad.
        flip: bool[batch_size], whether to mirror the image.

    Source: section 3.5 of the EncNet paper, which follows He et al.
    """
    rng = np.random.default_rng([_CROP_STREAM, seed, step])
    corner = rng.integers(0, 2 * pad + 1, (2, batch_size), np.int32)
    mirrored = flip & (rng.random(batch_size) < 0.5)
    return {"top": corner[0], "left": corner[1], "flip": mirrored}


def crop(images, top, left, flip, *, pad: int, xp: Any = np):
    """Pads images with black, crops them to the original size, and mirrors some.

    Args:
        images: uint8[B, S, S, 3].
        top, left: int32[B], position of each crop in the padded image, pixels.
        flip: bool[B], whether to mirror the image horizontally.
        pad: padding at each edge of an image, pixels.
        xp: the module numpy or jax.numpy.

    Returns:
        uint8[B, S, S, 3].
    """
    padded = xp.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    places = xp.arange(images.shape[1])[None]
    rows = top[:, None] + places
    columns = left[:, None] + xp.where(flip[:, None], places[:, ::-1], places)
    batch = xp.arange(len(images))[:, None, None]
    return padded[batch, rows[:, :, None], columns[:, None, :]]


def make_batch(images, labels, plan: dict, *, pad: int, xp: Any = np) -> dict:
    """Makes a batch of augmented images from the images of a split.

    Args:
        images: uint8[N, S, S, 3], all images of the split.
        labels: uint8[N].
        plan: A dict of arrays. 'index' has the indices int32[B] of the images in the
            batch; 'top', 'left' and 'flip' are the arguments of `crop`.
        pad: padding at each edge of an image, pixels.
        xp: the module numpy or jax.numpy.

    Returns:
        {'image': uint8[B, S, S, 3], 'label': uint8[B]}.
    """
    index, crops = plan["index"], {k: v for k, v in plan.items() if k != "index"}
    return {
        "image": crop(images[index], **crops, pad=pad, xp=xp),
        "label": labels[index],
    }


class ImageSet(Dataset):
    """Makes batches from images that an ImageArrays source keeps in memory.

    Crops have the size of the images, and labels are uint8[B]. If data.on_device is
    set, the batches are made on the devices, otherwise on the host.
    """

    source: ImageArrays

    @property
    def keep_last_batch(self) -> bool:
        """Whether the incomplete last batch of an epoch is kept instead of dropped."""
        return self.data.keep_last_batch

    def _batches(
        self, split: str, order: BatchOrder, start_step: int
    ) -> Iterator[dict]:
        augment = self.data.augment

        def plan(step: int) -> dict[str, np.ndarray]:
            _, index = order.indices(step)
            crops = draw_crops(
                order.batch_size,
                pad=augment.pad,
                flip=augment.flip,
                seed=order.seed,
                step=step,
            )
            part = order.part_of(len(index))
            return {
                "index": index.astype(np.int32),
                **{name: values[part] for name, values in crops.items()},
            }

        make = _device_maker if self.data.on_device else _host_maker
        images, labels = self.source.arrays(split)
        make_planned = make(images, labels, augment.pad)
        return (make_planned(plan(step)) for step in itertools.count(start_step))


def _host_maker(images: np.ndarray, labels: np.ndarray, pad: int) -> Callable:
    return partial(make_batch, images, labels, pad=pad)


def _device_maker(images: np.ndarray, labels: np.ndarray, pad: int) -> Callable:
    """Returns a function that makes batches on the devices.

    All images are copied to every device once. The argument of the returned function is
    `plan` of make_batch: the indices and crop positions of a batch.
    """
    images, labels = parallel.replicate((images, labels))
    make = parallel.mapped(
        partial(make_batch, pad=pad, xp=jnp),
        (parallel.SHARED, parallel.SHARED, parallel.ROWS),
        devices=jax.local_devices(),
    )
    return lambda plan: make(images, labels, parallel.shard(plan))
