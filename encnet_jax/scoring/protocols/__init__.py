"""Evaluation protocols by name: how images are cut, scaled and averaged."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import jax

from encnet_jax.pods import parallel
from encnet_jax.scoring.forward import Forward
from encnet_jax.scoring.protocols import canvas
from encnet_jax.scoring.protocols.averaged_scales import AveragedScales
from encnet_jax.scoring.protocols.centre_crop import CentreCrop, centre_crop
from encnet_jax.scoring.protocols.dense_refined import FIELDS as DENSE_FIELDS
from encnet_jax.scoring.protocols.dense_refined import DenseRefined
from encnet_jax.scoring.protocols.sliding import SlidingWindows
from encnet_jax.scoring.protocols.whole_images import (
    Described,
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

    def __init__(
        self,
        scorer,
        devices: list,
        pixel_fn: Callable = labels_only,
        with_labels: bool = False,
    ):
        """Takes a protocol with a method `scores`, and the devices it uses.

        Args:
            scorer: its scores are positive; shares of their sum are probabilities.
            devices: to use.
            pixel_fn, with_labels: see whole_images.WholeImages.
        """
        self._scorer, self._devices = scorer, devices
        self._with_labels = with_labels
        described = of_shares(pixel_fn)

        def one_image(total, *labels):
            # Batches of one image a device.
            return jax.tree.map(lambda x: x[None], described(total, None, *labels))

        self._describe = parallel.mapped(one_image, devices=devices)

    def view(self, example: dict) -> dict:
        """Returns the example as it is scored: unchanged."""
        return example

    def describe(
        self, variables: dict, examples: Iterable[dict]
    ) -> Iterator[tuple[list[dict], Described]]:
        """Yields (examples, results on native canvases), an image on each device."""
        for members, total, presence in self._scorer.scores(variables, examples):
            labels = ()
            if self._with_labels:
                laid = canvas.lay_labels(members, len(total), total.shape[1:3])
                labels = (parallel.spread(laid, self._devices),)
            yield members, Described.one_each(self._describe(total, *labels), presence)


def of_whole_images(protocol: str) -> str:
    """Returns the protocol itself, or 'single' for one that labels only a part."""
    return "single" if protocol == "centre_crop" else protocol


def make(
    forward: Forward,
    eval_config,
    *,
    protocol: str,
    refine: str,
    batch_size: int,
    devices: list,
    pixel_fn: Callable = labels_only,
    with_labels: bool = False,
):
    """Returns the labeller of images under a protocol.

    It has `view(example)`, the part of an example that is scored, and
    `describe(variables, viewed examples)`, see WholeImages.

    Args:
        forward: of the network.
        eval_config: section `eval` of the resolved configuration.
        protocol: one of PROTOCOLS.
        refine: one of REFINED_FIELDS.
        batch_size: images or windows at a time, over all devices.
        devices: to use.
        pixel_fn, with_labels: result for every pixel; see whole_images.WholeImages.
    """
    how: dict[str, Any] = {
        "protocol": protocol,
        "batch_size": batch_size,
        "devices": devices,
    }
    if refine == "dense":
        scorer = make_scorer(forward, eval_config, **how)
        view = _view(protocol, eval_config.crop_size)
        return DenseRefined(
            scorer, eval_config.dense, devices, view, pixel_fn, with_labels
        )
    if protocol in ("multiscale", "release"):
        scorer = make_scorer(forward, eval_config, **how)
        return ArgMax(scorer, devices, pixel_fn, with_labels)
    maps, are_probabilities = upsampled(forward.apply_fn, eval_config.upsampled)
    shared: dict[str, Any] = {
        "logits_stride": forward.logits_stride,
        "align_corners": forward.align_corners,
        "mask_padding": forward.mask_padding,
        "batch_size": batch_size,
        "devices": devices,
        "pixel_fn": of_shares(pixel_fn) if are_probabilities else pixel_fn,
        "with_labels": with_labels,
    }
    if protocol == "centre_crop":
        return CentreCrop(maps, crop_size=eval_config.crop_size, **shared)
    return WholeImages(
        maps, scale=forward.input_scale, bucket=eval_config.bucket, **shared
    )


def make_scorer(
    forward: Forward, eval_config, *, protocol: str, batch_size: int, devices: list
):
    """Returns the sum of a protocol's scores at native size, an image a device at once.

    Args:
        forward, eval_config, protocol, batch_size, devices: see `make`.
    """
    scales, flip = tuple(eval_config.scales), eval_config.flip
    bucket, input_scale = eval_config.bucket, forward.input_scale
    shared: dict[str, Any] = {
        "align_corners": forward.align_corners,
        "mask_padding": forward.mask_padding,
        "devices": devices,
    }
    if protocol == "release":
        return SlidingWindows(
            forward.apply_fn,
            forward.num_classes,
            scales=scales,
            flip=flip,
            bucket=bucket,
            base_size=eval_config.base_size,
            crop_size=eval_config.crop_size,
            batch_size=batch_size // len(devices),
            **shared,
        )
    if protocol != "multiscale":
        scales, flip = (1.0,), False
    if protocol == "centre_crop":
        input_scale, bucket = 1.0, 1  # Crops have their scale and one size already.
    maps, are_probabilities = upsampled(forward.apply_fn, eval_config.upsampled)
    return AveragedScales(
        maps,
        forward.num_classes,
        are_probabilities=are_probabilities,
        scales=scales,
        flip=flip,
        input_scale=input_scale,
        bucket=bucket,
        logits_stride=forward.logits_stride,
        **shared,
    )


def _view(protocol: str, crop_size: int) -> Callable[[dict], dict]:
    """Returns the function from an example to the part of it that is scored."""
    if protocol == "centre_crop":
        return partial(centre_crop, crop_size=crop_size)
    return lambda example: example


def upsampled(apply_fn: Callable, maps: str) -> tuple[Callable, bool]:
    """Returns the function of the maps to upsample; whether they are probabilities.

    Args:
        apply_fn: see Forward.
        maps: eval.upsampled, 'logits' or 'probabilities'.
    """
    if maps == "probabilities":
        return partial(_probabilities, apply_fn=apply_fn), True
    return apply_fn, False


def _probabilities(*arguments, apply_fn):
    outputs = apply_fn(*arguments)
    return outputs._replace(logits=jax.nn.softmax(outputs.logits, axis=-1))
