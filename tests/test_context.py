"""The Context Encoding Module's choices at the start and of what gradients reach."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax.models.context import ContextEncoding
from encnet_jax.models.layers import make_layers


def module(**fields):
    return ContextEncoding(make_layers(), num_codes=4, se_classes=3, **fields)


def images():
    return jax.random.normal(jax.random.key(1), (2, 4, 5, 6))


@pytest.mark.parametrize(("bias", "low", "high"), [(0.0, 0.1, 0.9), (6.0, 0.97, 1.0)])
def test_an_added_bias_opens_the_gate(bias, low, high):
    context = module(gate_bias=bias)
    variables = context.init(jax.random.key(0), images())
    share = context.apply(variables, images())["features"] / images()
    assert low < share.min()
    assert share.max() < high


def test_gate_bias_changes_only_the_initial_bias():
    begun = [
        module(gate_bias=b).init(jax.random.key(0), images())["params"] for b in (0, 2)
    ]
    attention = [params.pop("attention") for params in begun]
    jax.tree.map(np.testing.assert_array_equal, *begun)
    added = attention[1]["bias"] - attention[0]["bias"]
    np.testing.assert_allclose(added, 2, rtol=1e-6)


@pytest.mark.parametrize("reaches", [True, False])
def test_the_se_gradient_stops_at_its_layer_where_asked(reaches):
    context = module(se_gradient=reaches)
    variables = context.init(jax.random.key(0), images())

    def loss(params, x):
        outputs = context.apply({**variables, "params": params}, x)
        return jnp.sum(outputs["se_logits"] ** 2)

    grads, of_input = jax.grad(loss, (0, 1))(variables["params"], images())
    assert np.abs(grads["presence"]["kernel"]).max() > 0
    assert bool(np.abs(grads["encoding"]["codewords"]).max() > 0) == reaches
    assert bool(np.abs(of_input).max() > 0) == reaches


def test_gates_and_assignment_are_stored_only_on_request():
    context = module(gate="scale")
    variables = context.init(jax.random.key(0), images())
    assert set(variables) == {"params", "batch_stats"}
    outputs, stored = context.apply(variables, images(), mutable=["context"])
    gates = stored["context"]["gates"][0]
    np.testing.assert_allclose(
        outputs["features"], images() * gates[:, None, None], rtol=1e-6
    )
    (assignment,) = stored["context"]["encoding"]["assignment"]
    assert assignment.shape == (2, 4, 5, 4)
    np.testing.assert_allclose(assignment.sum(-1), 1, rtol=1e-5)
