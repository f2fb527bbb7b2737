"""The segmentation network: backbone, head and optional auxiliary head."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from encnet_jax.models.inside import Inside
from encnet_jax.models.layers import Layers, make_layers
from encnet_jax.models.norm import GroupedAxis


class Segmenter(nn.Module):
    """A segmentation network, which maps images to a dict of named outputs.

    Attributes:
        backbone: constructor of the backbone, called with `layers` and `name`; the
            backbone maps images to a dict of feature maps ('stage1' to 'stage4').
        head: constructor of the head, called with `layers` and `name`; the head maps
            the feature maps to a dict of outputs that includes 'logits'.
        aux_head: constructor of the auxiliary head; None for no auxiliary head.
        axis_name: pmap axis over which batch norms are synchronised; None for one
            device.
        norm_epsilon, frozen_norm: see layers.make_layers.
        dtype: dtype of the computation.
        freeze_backbone: whether the backbone receives no gradient, and its batch norms
            use running statistics in training too.
    """

    backbone: Callable[..., nn.Module]
    head: Callable[..., nn.Module]
    aux_head: Callable[..., nn.Module] | None = None
    axis_name: str | GroupedAxis | None = None
    norm_epsilon: float = 1e-5
    frozen_norm: bool = False
    dtype: Any = jnp.float32
    freeze_backbone: bool = False

    @nn.compact
    def __call__(
        self, images: jax.Array, train: bool = False, inside: Inside | None = None
    ) -> dict[str, jax.Array]:
        """Runs the network.

        Args:
            images: f32[B, H, W, 3], normalised by channel mean and standard deviation.
            train: whether batch norms use batch statistics and dropout is on.
            inside: the pixels of each padded image that belong to the image itself, so
                that padding does not change the logits; only in evaluation. None if no
                image is padded.

        Returns:
            A dict with the outputs of the head,
                'logits': f32[B, h, w, C], where C is the number of classes and h is
                    ceil(H / models.logits_stride(model_config)),
                'se_logits': f32[B, C], only for EncNet heads with an SE branch,
            and the outputs of the auxiliary head, with the prefix 'aux_'.
        """
        layers = network_layers(self, train, inside)
        stages = run_backbone(self, images, train, inside)
        outputs = self.head(layers=layers, name="head")(stages)
        # Evaluation does not read the auxiliary outputs; XLA removes unused code.
        if self.aux_head is not None:
            auxiliary = self.aux_head(layers=layers, name="aux_head")(stages)
            outputs |= {f"aux_{name}": x for name, x in auxiliary.items()}
        return outputs


def network_layers(network, train: bool, inside: Inside | None = None) -> Layers:
    """Returns the constructors of the layers of a network.

    Args:
        network: a module with the attributes axis_name, dtype, norm_epsilon and
            frozen_norm.
        train, inside: see layers.make_layers.
    """
    return make_layers(
        train,
        network.axis_name,
        network.dtype,
        inside,
        norm_epsilon=network.norm_epsilon,
        frozen_norm=network.frozen_norm,
    )


def run_backbone(
    network, images: jax.Array, train: bool, inside: Inside | None = None
) -> dict[str, jax.Array]:
    """Runs the backbone of a network and returns {stage: feature map}.

    Must be called from a compact method of the network.

    Args:
        network: a module with the attributes of Segmenter except `head` and `aux_head`.
        images, train, inside: see Segmenter.__call__.
    """
    frozen = network.freeze_backbone
    layers = network_layers(network, train and not frozen, inside)
    backbone = network.backbone(layers=layers, name="backbone")
    stages = backbone(images.astype(network.dtype))
    return jax.lax.stop_gradient(stages) if frozen else stages


def shared_fields(model_config, axis_name: str | None) -> dict[str, Any]:
    """Returns the common arguments of Segmenter, PiecewiseCRF and Classifier."""
    m = model_config
    return {
        "axis_name": axis_name and GroupedAxis(axis_name, m.norm_group),
        "norm_epsilon": m.norm_epsilon,
        "frozen_norm": m.frozen_norm,
        "dtype": jnp.dtype(m.dtype),
    }


def build(model_config, backbone, head, aux_head, axis_name) -> Segmenter:
    """Builds a Segmenter; `models.build` calls this function.

    Args:
        model_config: section `model` of the resolved configuration.
        backbone, head, aux_head: constructors; see Segmenter.
        axis_name: pmap axis over which batch norms are synchronised; None for one
            device.
    """
    return Segmenter(backbone, head, aux_head, **shared_fields(model_config, axis_name))
