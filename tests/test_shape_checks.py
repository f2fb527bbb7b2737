"""The checks of array shapes that conftest.py switches on for all tests."""

import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from encnet_jax import losses
from encnet_jax.models.encoding import encode
from encnet_jax.models.resize import interpolation_matrix, resize_bilinear
from encnet_jax.scoring.metrics import count_pairs

LABELS = jnp.zeros((2, 8, 8), jnp.uint8)


@pytest.mark.parametrize(
    ("call", "argument"),
    [
        (lambda: encode(jnp.ones((2, 5)), jnp.ones((4, 3)), jnp.ones(4)), "features"),
        (lambda: resize_bilinear(jnp.ones((8, 8, 3)), 4, 4), "x"),
        (lambda: losses.class_presence(LABELS.astype(jnp.int32), 3), "labels"),
        (
            # Logits of one image, labels of two.
            lambda: losses.upsampled_cross_entropy(jnp.ones((1, 4, 4, 3)), LABELS),
            "labels",
        ),
        (
            lambda: count_pairs(jnp.zeros(5, jnp.uint8), jnp.zeros(4, jnp.uint8), 3),
            "predictions",
        ),
    ],
)
def test_wrong_shapes_and_types_are_reported_with_the_argument(call, argument):
    message = f"The problem arose whilst typechecking parameter '{argument}'"
    with pytest.raises(jaxtyping.TypeCheckError, match=message):
        call()


def test_right_shapes_pass_and_an_int_is_accepted_as_a_float():
    assert resize_bilinear(np.ones((1, 8, 8, 3), np.float32), 4, 2).shape == (
        1,
        4,
        2,
        3,
    )
    assert interpolation_matrix(4, 8).shape == (4, 8)
    outputs = {"logits": jnp.zeros((2, 4, 4, 3))}
    loss, _ = losses.segmentation_loss(outputs, LABELS, se_weight=0, aux_weight=0)
    np.testing.assert_allclose(loss, np.log(3), rtol=1e-6)
