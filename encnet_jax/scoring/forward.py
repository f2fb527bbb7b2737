"""The forward pass of a segmentation network, as evaluation and prediction call it."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.config import ModelConfig
from encnet_jax.models import logits_stride


class Outputs(NamedTuple):
    """The outputs of a network that evaluation and prediction use.

    Attributes:
        logits: [B, h, w, C].
        presence: f32[B, C] in [0, 1], probability that a class occurs in an image; None
            without an SE branch.
    """

    logits: jax.Array
    presence: jax.Array | None = None


class Forward(NamedTuple):
    """A network that maps pixels to logits, and the logits' positions in the image.

    Attributes:
        apply_fn: (variables, pixel values [B, H, W, 3]) -> Outputs. With `mask_padding`
            it takes a further argument, models.inside.Inside, that marks the image's
            pixels on its canvas.
        num_classes: C.
        input_scale: images are resized by this factor first.
        logits_stride: pixels between neighbouring logits.
        align_corners: corner convention of every upsampling.
        mask_padding: whether the network ignores the padding around an image.
    """

    apply_fn: Callable
    num_classes: int
    input_scale: float
    logits_stride: float
    align_corners: bool
    mask_padding: bool

    @classmethod
    def of(
        cls,
        model: nn.Module,
        num_classes: int,
        normalise: Callable,
        model_config: ModelConfig,
        input_scale: float,
    ) -> "Forward":
        """Returns the forward pass of a model.

        Args:
            model: module without a batch-norm axis.
            num_classes: C.
            normalise: pixel values -> the model's images; see tasks.task.Task.
            model_config: section `model` of the resolved configuration.
            input_scale: see the class.
        """
        return cls(
            outputs_from_pixels(model, normalise),
            num_classes,
            input_scale,
            logits_stride(model_config),
            model_config.align_corners,
            model_config.mask_padding,
        )


def outputs_from_pixels(model: nn.Module, normalise: Callable) -> Callable:
    """Returns (variables, pixel values [B, H, W, 3], ...) -> the model's Outputs.

    Arguments after the pixels, models.inside.Inside, are passed on to the model.
    """

    def apply_fn(variables, pixels, *inside):
        images = normalise(pixels)
        outputs = model.apply(variables, images, False, *inside)
        se_logits = outputs.get("se_logits")
        presence = None
        if se_logits is not None:
            presence = jax.nn.sigmoid(se_logits.astype(jnp.float32))
        return Outputs(outputs["logits"], presence)

    return apply_fn
