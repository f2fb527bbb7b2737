"""Evaluation protocols by name: how images are cut, scaled and averaged."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import jax

from encnet_jax.models import logits_stride
from encnet_jax.scoring.protocols.averaged_scales import AveragedScales
from encnet_jax.scoring.protocols.centre_crop import CentreCrop
from encnet_jax.scoring.protocols.sliding import SlidingWindows
from encnet_jax.scoring.protocols.whole_images import WholeImages, class_ids

PROTOCOLS = ("single", "multiscale", "release", "centre_crop")

# What belongs to each protocol and stands in its report.
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


class ArgMax:
    """Labels images by the largest of the scores that a protocol sums up."""

    def __init__(self, scorer, devices: list):
        """Takes a protocol with a method `scores`, and the devices it uses."""
        self._scorer = scorer
        # Batches of one image a device.
        self._ids = jax.pmap(lambda total: class_ids(total)[None], devices=devices)

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


def make(apply_fn: Callable, config, num_classes: int, batch_size: int, devices: list):
    """Returns what labels images under config.eval.protocol.

    It has `view(example)`, the part of an example that is scored, and
    `ids(variables, viewed examples)`, see WholeImages.

    Args:
        apply_fn: see whole_images.WholeImages.
        config: resolved configuration.
        num_classes: C.
        batch_size: images or windows at a time, over all devices.
        devices: to use.
    """
    settings, align_corners = config.eval, config.model.align_corners
    averaged = {
        "scales": tuple(settings.scales),
        "flip": settings.flip,
        "bucket": settings.bucket,
        "align_corners": align_corners,
        "mask_padding": config.model.mask_padding,
        "devices": devices,
    }
    stride = logits_stride(config.model)
    upsampled = apply_fn
    if settings.upsampled == "probabilities":
        upsampled = partial(_probabilities, apply_fn=apply_fn)
    if settings.protocol == "multiscale":
        scorer = AveragedScales(
            upsampled,
            num_classes,
            are_probabilities=settings.upsampled == "probabilities",
            input_scale=config.data.input_scale,
            logits_stride=stride,
            **averaged,
        )
        return ArgMax(scorer, devices)
    if settings.protocol == "release":
        scorer = SlidingWindows(
            apply_fn,
            num_classes,
            base_size=settings.base_size,
            crop_size=settings.crop_size,
            batch_size=batch_size // len(devices),
            **averaged,
        )
        return ArgMax(scorer, devices)
    shared = {
        "logits_stride": stride,
        "align_corners": align_corners,
        "mask_padding": config.model.mask_padding,
        "batch_size": batch_size,
        "devices": devices,
    }
    if settings.protocol == "centre_crop":
        return CentreCrop(upsampled, crop_size=settings.crop_size, **shared)
    return WholeImages(
        upsampled, scale=config.data.input_scale, bucket=settings.bucket, **shared
    )


def _probabilities(*arguments, apply_fn):
    return jax.nn.softmax(apply_fn(*arguments), axis=-1)
