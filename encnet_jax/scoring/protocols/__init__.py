"""Evaluation protocols by name: how images are cut, scaled and averaged."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import jax

from encnet_jax.models import logits_stride
from encnet_jax.scoring.protocols.averaged_scales import AveragedScales
from encnet_jax.scoring.protocols.centre_crop import CentreCrop, centre_crop
from encnet_jax.scoring.protocols.dense_refined import FIELDS as DENSE_FIELDS
from encnet_jax.scoring.protocols.dense_refined import DenseRefined
from encnet_jax.scoring.protocols.sliding import SlidingWindows
from encnet_jax.scoring.protocols.whole_images import (
    WholeImages,
    labels_only,
    of_shares,
)

PROTOCOLS = ("single", "multiscale", "release", "centre_crop")

# The fields that belong to each protocol and that its report states.
FIELDS = {
    "single": ("data.input_scale", "eval.bucket", "eval.upsampled"),
    "multiscale": (
        "data.input_scale",
        "eval.bucket",
        "eval.scales",
        "eval.flip",
        "eval.upsampled",
    ),
    "release": ("eval.base_size", "eval.crop_size", "eval.scales", "eval.flip"),
    "centre_crop": ("eval.crop_size", "eval.upsampled"),
}
REFINED_FIELDS = {"none": (), "dense": DENSE_FIELDS}


class ArgMax:
    """Labels images by the largest of the scores that a protocol sums up."""

    def __init__(self, scorer, devices: list, pixel_fn: Callable = labels_only):
        """Takes a protocol with a method `scores`, and the devices it uses.

        Args:
            scorer: its scores are positive; shares of their sum are probabilities.
            devices: to use.
            pixel_fn: see whole_images.predict.
        """
        self._scorer = scorer
        described = of_shares(pixel_fn)

        def one_image(total):
            # Batches of one image a device.
            return jax.tree.map(lambda x: x[None], described(total, None))

        self._ids = jax.pmap(one_image, devices=devices)

    def view(self, example: dict) -> dict:
        """Returns the example as it is scored: unchanged."""
        return example

    def ids(
        self, variables: dict, examples: Iterable[dict]
    ) -> Iterator[tuple[list[dict], jax.Array]]:
        """Yields (examples, uint8[devices, 1, H, W] class ids on native canvases)."""
        for members, total in self._scorer.scores(variables, examples):
            yield members, self._ids(total)


def of_whole_images(protocol: str) -> str:
    """Returns the protocol itself, or 'single' for one that labels only a part."""
    return "single" if protocol == "centre_crop" else protocol


def make(
    apply_fn: Callable,
    config,
    num_classes: int,
    batch_size: int,
    devices: list,
    pixel_fn: Callable = labels_only,
):
    """Returns what labels images under config.eval.protocol and config.eval.refine.

    It has `view(example)`, the part of an example that is scored, and
    `ids(variables, viewed examples)`, see WholeImages.

    Args:
        apply_fn: see whole_images.WholeImages.
        config: resolved configuration.
        num_classes: C.
        batch_size: images or windows at a time, over all devices.
        devices: to use.
        pixel_fn: what to return of every pixel; see whole_images.predict.
    """
    settings = config.eval
    if settings.refine == "dense":
        scorer = make_scorer(apply_fn, config, num_classes, batch_size, devices)
        return DenseRefined(scorer, settings.dense, devices, _view(config), pixel_fn)
    if settings.protocol in ("multiscale", "release"):
        scorer = make_scorer(apply_fn, config, num_classes, batch_size, devices)
        return ArgMax(scorer, devices, pixel_fn)
    maps, are_probabilities = upsampled(apply_fn, config)
    shared = {
        "logits_stride": logits_stride(config.model),
        "align_corners": config.model.align_corners,
        "mask_padding": config.model.mask_padding,
        "batch_size": batch_size,
        "devices": devices,
        "pixel_fn": of_shares(pixel_fn) if are_probabilities else pixel_fn,
    }
    if settings.protocol == "centre_crop":
        return CentreCrop(maps, crop_size=settings.crop_size, **shared)
    return WholeImages(
        maps, scale=config.data.input_scale, bucket=settings.bucket, **shared
    )


def make_scorer(
    apply_fn: Callable, config, num_classes: int, batch_size: int, devices: list
):
    """Returns what sums up scores at native size, an image a device at a time.

    Args:
        apply_fn, config, num_classes, batch_size, devices: see `make`.
    """
    settings = config.eval
    scales, flip, bucket = tuple(settings.scales), settings.flip, settings.bucket
    shared = {
        "align_corners": config.model.align_corners,
        "mask_padding": config.model.mask_padding,
        "devices": devices,
    }
    if settings.protocol == "release":
        return SlidingWindows(
            apply_fn,
            num_classes,
            scales=scales,
            flip=flip,
            bucket=bucket,
            base_size=settings.base_size,
            crop_size=settings.crop_size,
            batch_size=batch_size // len(devices),
            **shared,
        )
    input_scale = config.data.input_scale
    if settings.protocol != "multiscale":
        scales, flip = (1.0,), False
    if settings.protocol == "centre_crop":
        input_scale, bucket = 1.0, 1  # Crops are of their scale and one size already.
    maps, are_probabilities = upsampled(apply_fn, config)
    return AveragedScales(
        maps,
        num_classes,
        are_probabilities=are_probabilities,
        scales=scales,
        flip=flip,
        input_scale=input_scale,
        bucket=bucket,
        logits_stride=logits_stride(config.model),
        **shared,
    )


def _view(config) -> Callable[[dict], dict]:
    """Returns what takes an example to the part of it that is scored."""
    if config.eval.protocol == "centre_crop":
        return partial(centre_crop, crop_size=config.eval.crop_size)
    return lambda example: example


def upsampled(apply_fn: Callable, config) -> tuple[Callable, bool]:
    """Returns what gives the maps to upsample, and whether those are probabilities."""
    if config.eval.upsampled == "probabilities":
        return partial(_probabilities, apply_fn=apply_fn), True
    return apply_fn, False


def _probabilities(*arguments, apply_fn):
    return jax.nn.softmax(apply_fn(*arguments), axis=-1)
