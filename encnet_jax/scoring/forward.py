"""The forward pass of a segmentation network for evaluation and prediction."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.config import ModelConfig
from encnet_jax.models import logits_stride


class Outputs(NamedTuple):
    """The network outputs that evaluation and prediction use.

    Attributes:
        logits: [B, h, w, C], at the resolution of the network's output.
        presence: f32[B, C] in [0, 1], probability that each class occurs in the image;
            None if the network has no SE branch.
    """

    logits: jax.Array
    presence: jax.Array | None = None


class Forward(NamedTuple):
    """The forward pass of a network, and the positions of the logits in the image.

    Attributes:
        apply_fn: function (variables, pixel values [B, H, W, 3]) -> Outputs. If
            `mask_padding` is True, a third argument, a models.inside.Inside, marks the
            pixels that are not padding.
        num_classes: C.
        input_scale: factor by which images are resized before the forward pass.
        logits_stride: distance between neighbouring logits in pixels of the resized
            image.
        align_corners: whether upsampling aligns the centres of the corner pixels.
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
            model: segmentation model; its batch norms must have axis_name=None.
            num_classes: C.
            normalise: function from pixel values to the model's input; see
                tasks.task.Task.
            model_config: section `model` of the resolved configuration.
            input_scale: factor by which images are resized before the forward pass.
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
    """Returns a function that normalises pixels and applies a model.

    Args:
        model, normalise: see Forward.of.

    Returns:
        A function (variables, pixel values [B, H, W, 3]) -> Outputs. A third argument,
        a models.inside.Inside, is optional and is passed to the model.
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
