"""A network of one pooling and one product, for tests of evaluation."""

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.preprocess import normalise
from encnet_jax.scoring.evaluator import Evaluator
from encnet_jax.scoring.forward import Forward

STRIDE = 8


class ToySegmenter:
    """Each logit depends on 8x8 pixels and on the mean of the whole input.

    Attributes:
        traced: shapes of the inputs it was traced for.
    """

    def __init__(self, num_classes=5, seed=0):
        rng = np.random.default_rng(seed)
        self.variables = {
            "local": rng.standard_normal((3, num_classes)).astype(np.float32),
            "overall": rng.standard_normal((3, num_classes)).astype(np.float32),
            "bias": rng.standard_normal(num_classes).astype(np.float32),
        }
        self.traced = []

    def apply(self, variables, images, train=False):
        """Maps normalised [B, H, W, 3] to {'logits': [B, H / 8, W / 8, C]}."""
        self.traced.append(images.shape)
        window = (1, STRIDE, STRIDE, 1)
        pooled = jax.lax.reduce_window(images, 0.0, jax.lax.add, window, window, "SAME")
        # Mirrored inputs give mirrored outputs only if all windows are whole.
        overall = jnp.mean(images, axis=(1, 2), keepdims=True)
        return {
            "logits": (pooled / STRIDE**2) @ variables["local"]
            + overall @ variables["overall"]
            + variables["bias"].reshape(1, 1, 1, -1)
        }

    def logits(self, variables, images):
        """Returns the logits alone."""
        return self.apply(variables, images)["logits"]


def random_image(height, width, seed=0):
    """Returns smooth uint8[H, W, 3] noise, so that neighbouring pixels resemble."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((height // 8 + 2, width // 8 + 2, 3))
    fine = np.kron(coarse, np.ones((8, 8, 1)))[:height, :width]
    return (255 * (0.8 * fine + 0.2 * rng.random((height, width, 3)))).astype(np.uint8)


def make_evaluator(model, config, num_classes, devices=None):
    """Returns the evaluator of a segmenter under a resolved configuration."""
    scale = config.data.input_scale
    forward = Forward.of(model, num_classes, normalise, config.model, scale)
    return Evaluator(forward, config.eval, devices=devices)
