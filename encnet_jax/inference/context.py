"""Computes the intermediate values of the Context Encoding Module for one image."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax import pictures
from encnet_jax.errors import UserError
from encnet_jax.models.encoding import INTERMEDIATES
from encnet_jax.scoring.protocols import canvas
from encnet_jax.tasks.network import Network


class SceneContext(NamedTuple):
    """Intermediate values of the Context Encoding Module for one image.

    The feature map has h x w positions and D channels; there are K codewords.

    Attributes:
        gates: f32[D] in [0, 1], the factor by which each channel is multiplied.
        features: f32[h, w, D], the feature map before the multiplication by the gates.
        assignment: f32[h, w, K], the weights of the K codewords at each position; the
            weights of a position sum to 1. None if `model.num_codes` is 0.
        presence: f32[C] in [0, 1], the probability that each class is in the image;
            None if the network has no SE branch.
    """

    gates: np.ndarray
    features: np.ndarray
    assignment: np.ndarray | None
    presence: np.ndarray | None

    def codeword_usage(self) -> np.ndarray | None:
        """Returns f32[K], the mean weight of each codeword over all positions.

        Returns None if the network has no codewords.
        """
        if self.assignment is None:
            return None
        return self.assignment.reshape(-1, self.assignment.shape[-1]).mean(0)


def scene_context(network: Network, image: np.ndarray) -> SceneContext:
    """Returns the Context Encoding Module's intermediate values for one image.

    Args:
        network: a trained EncNet.
        image: uint8[H, W, 3], the original image, which this function resizes by the
            factor `data.input_scale`.

    Raises:
        UserError: the network has no Context Encoding Module.
    """
    scale = network.forward().input_scale
    height, width = pictures.scaled_size(image.shape[0], image.shape[1], scale)
    pixels = canvas.resize(image, height, width)[None]
    images = network.task.normalise(jnp.asarray(pixels))
    outputs, stored = network.model.apply(
        network.variables, images, False, mutable=[INTERMEDIATES]
    )
    found = stored.get(INTERMEDIATES, {}).get("head", {}).get("context", {})
    if "gates" not in found:
        raise UserError(
            "the network has no Context Encoding Module; expected a run with"
            " model.name=encnet"
        )
    codes = found.get("encoding", {}).get("assignment")
    presence = outputs.get("se_logits")
    return SceneContext(
        np.asarray(found["gates"][0][0]),
        np.asarray(found["features"][0][0], np.float32),
        None if codes is None else np.asarray(codes[0][0]),
        None if presence is None else np.asarray(jax.nn.sigmoid(presence[0])),
    )
