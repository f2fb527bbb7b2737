"""The names of DUC-HDC networks in MXNet's checkpoints."""

import jax
import numpy as np
import pytest
import reference_models

from encnet_jax import torch_weights
from encnet_jax.errors import UserError
from encnet_jax.torch_weights import names, state_dicts


def arrays_of(num_classes: int, **fields):
    """Returns the arrays of such a network as MXNet names them."""
    m = reference_models.model_config(
        "duc_released", name="duc", backbone="resnet50", **fields
    )
    shapes = state_dicts.variable_shapes(m, num_classes)
    zeros = jax.tree.map(lambda x: np.broadcast_to(np.float32(0), x.shape), shapes)
    entries = names.table(zeros, torch_weights.find("duc"), m)
    return {e.name: np.broadcast_to(np.float32(0), e.shape) for e in entries}


def test_names_of_a_duc_network():
    arrays = arrays_of(19)
    assert arrays["arg:conv4_6_1x1_increase_weight"].shape == (1024, 256, 1, 1)
    assert arrays["arg:fc1_cityscapes_c3_bias"].shape == (19 * 16,)
    assert {"arg:conv1_1_3x3_s2/bn_gamma", "aux:conv5_1_1x1_proj/bn_moving_var"} <= set(
        arrays
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"backbone": "resnet101"}, "model.backbone is 'resnet101', but these weights"),
        ({"stem_width": 32}, "model.stem_width is 32, but these weights are for 64"),
        ({"name": "fcn"}, "model.name is 'fcn', but these weights are for 'duc'"),
        ({"dilation": "hdc_rf", "name": "fcn"}, "are for 'hdc_released'"),
        ({"duc.cell": 1}, "mismatched arg:fc1_cityscapes_c0_bias .304., expected"),
        ({"duc.rates": (6, 12)}, "unexpected arg:fc1_cityscapes_c2_bias"),
        ({"stem": "conv7"}, "the configuration has .* model.stem='conv7' and"),
    ],
)
def test_weights_of_another_duc_network_are_one_line(fields, words):
    arrays = arrays_of(19)
    here = {"name": "duc", "backbone": "resnet50", "dilation": "hdc_released"} | fields
    m = reference_models.model_config("duc_released", **here)
    with pytest.raises(UserError, match=words) as error:
        torch_weights.convert(arrays, m, 19)
    assert "\n" not in str(error.value)
