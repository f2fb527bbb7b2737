"""Schedules and the optimiser against their formulas and PyTorch's SGD."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax import config as config_lib
from encnet_jax import models
from encnet_jax.config import defaults, recipes
from encnet_jax.errors import UserError
from encnet_jax.train import optim


def optim_config(**fields):
    config = defaults.get_config()
    config.optim.update(fields)
    return config_lib.resolve(config).optim


def rate(step, **fields):
    schedule = optim.learning_rate(
        optim_config(**fields), total_steps=100, batch_size=32
    )
    return float(schedule(step))


def test_poly_schedule():
    assert rate(0) == pytest.approx(0.01)
    assert rate(50) == pytest.approx(0.01 * 0.5**0.9)
    assert rate(100) == 0


def test_cosine_warmup_and_batch_scaling():
    assert rate(50, schedule="cosine") == pytest.approx(0.005)
    assert rate(0, scale_lr_by_batch=True) == pytest.approx(0.02)
    assert rate(0, warmup_steps=10) == 0
    assert rate(5, warmup_steps=10) == pytest.approx(0.005 * 0.95**0.9)
    assert rate(50, warmup_steps=10) == pytest.approx(0.01 * 0.5**0.9)


def run_steps(params, grads, steps, **fields):
    optim_fields = optim_config(**fields)
    tx, _ = optim.optimizer(optim_fields, params, total_steps=10, batch_size=16)
    state = tx.init(params)
    for _ in range(steps):
        updates, state = tx.update(grads, state, params)
        params = jax.tree.map(jnp.add, params, updates)
    return params


def test_equals_torch_sgd():
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    sgd = torch.optim.SGD([weight], lr=0.01, momentum=0.9, weight_decay=0.1)
    for step in range(4):
        sgd.param_groups[0]["lr"] = 0.01 * (1 - step / 10) ** 0.9
        weight.grad = torch.tensor([0.5, 0.25])
        sgd.step()
    params = {"backbone": {"kernel": jnp.asarray([1.0, -2.0])}}
    grads = {"backbone": {"kernel": jnp.asarray([0.5, 0.25])}}
    ours = run_steps(params, grads, 4, weight_decay=0.1)
    np.testing.assert_allclose(
        ours["backbone"]["kernel"], weight.detach().numpy(), rtol=1e-6
    )


def test_head_multiplier_and_exempted_norms():
    one = jnp.ones(1)
    params = {
        "backbone": {"conv": {"kernel": one}, "norm": {"scale": one}},
        "head": {"conv": {"kernel": one, "bias": one}},
    }
    zero = jax.tree.map(jnp.zeros_like, params)
    fields = {"weight_decay": 0.5, "head_lr_multiplier": 10.0}
    moved = jax.tree.map(
        lambda new: float(1 - new[0]), run_steps(params, zero, 1, **fields)
    )
    assert moved["backbone"]["conv"]["kernel"] == pytest.approx(0.005)
    assert moved["backbone"]["norm"]["scale"] == pytest.approx(0.005)
    assert moved["head"]["conv"]["bias"] == pytest.approx(0.05)
    spared = run_steps(params, zero, 1, decay_norm_and_bias=False, **fields)
    assert spared["backbone"]["norm"]["scale"] == spared["head"]["conv"]["bias"] == 1
    assert spared["head"]["conv"]["kernel"] == pytest.approx(0.95)


def test_parameters_without_weight_decay_are_selected_by_name():
    one = jnp.ones(1)
    params = {"backbone": {"kernel": one}, "head": {"codewords": one, "scale": one}}
    zero = jax.tree.map(jnp.zeros_like, params)
    fields = {"weight_decay": 0.5, "undecayed": ("*/codewords", "backbone")}
    moved = run_steps(params, zero, 1, **fields)
    assert moved["backbone"]["kernel"] == moved["head"]["codewords"] == 1
    assert moved["head"]["scale"] < 1


@pytest.mark.parametrize("name", models.HEADS)
def test_every_parameter_is_in_the_backbone_or_the_head(name):
    config = recipes.apply(defaults.get_config(), f"release,tiny,{name}")
    model = models.build(config_lib.resolve(config).model, 5)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), train=False)
    )["params"]
    assert {"backbone", "head"} <= set(shapes) <= {"backbone", "head", "aux_head"}
    paths = [p for p, _ in jax.tree_util.tree_leaves_with_path(shapes)]
    assert {optim.is_head(p) for p in paths} == {True, False}
    spared = optim_config(decay_norm_and_bias=False)
    kept = {p[-1].key for p in paths if optim.is_decayed(p, spared)}
    assert kept <= {"kernel", "codewords", "smoothing"}
    kept = {
        p[-1].key for p in paths if optim.is_decayed(p, optim_config(decay_bias=False))
    }
    assert "bias" not in kept
    assert "scale" in kept


def test_gradients_are_clipped_element_by_element():
    params = {"backbone": {"conv": {"kernel": jnp.zeros(3)}}}
    grads = {"backbone": {"conv": {"kernel": jnp.asarray([9.0, -6.0, 1.0])}}}
    fields = {"weight_decay": 0.0, "base_lr": 1.0, "clip_element": 5.0}
    moved = run_steps(params, grads, 1, **fields)["backbone"]["conv"]["kernel"]
    np.testing.assert_allclose(moved, [-5, 5, -1])


def test_the_rate_is_halved_after_each_part():
    fields = {"base_lr": 0.8, "schedule": "halving", "halving_parts": 4}
    rates = [rate(step, **fields) for step in (0, 24, 25, 49, 50, 75, 99)]
    np.testing.assert_allclose(rates, [0.8, 0.8, 0.4, 0.4, 0.2, 0.1, 0.1], rtol=1e-6)


def test_equals_torch_adamw():
    torch = pytest.importorskip("torch")
    weight = torch.nn.Parameter(torch.tensor([1.0, -2.0]))
    adamw = torch.optim.AdamW(
        [weight], lr=0.01, betas=(0.8, 0.95), eps=1e-8, weight_decay=0.1
    )
    for step in range(4):
        adamw.param_groups[0]["lr"] = 0.01 * (1 - step / 10) ** 0.9
        weight.grad = torch.tensor([0.5, 0.25])
        adamw.step()
    params = {"backbone": {"kernel": jnp.asarray([1.0, -2.0])}}
    grads = {"backbone": {"kernel": jnp.asarray([0.5, 0.25])}}
    fields = {"name": "adamw", "momentum": 0.8, "adam_beta2": 0.95}
    # Optax raises a float to the power of an integer count.
    with jax.numpy_dtype_promotion("standard"):
        ours = run_steps(params, grads, 4, weight_decay=0.1, **fields)
    np.testing.assert_allclose(
        ours["backbone"]["kernel"], weight.detach().numpy(), rtol=1e-6
    )


def network():
    """Two modules of one array each, and gradients of 3 and 4."""
    params = {
        "backbone": {"stem": {"kernel": jnp.ones(1)}},
        "head": {"conv": {"kernel": jnp.ones(1)}},
    }
    grads = {
        "backbone": {"stem": {"kernel": jnp.full(1, 3.0)}},
        "head": {"conv": {"kernel": jnp.full(1, 4.0)}},
    }
    return params, grads


def first_step(**fields):
    """Returns the updates of (backbone, head) in a step, divided by the rate 0.01."""
    params, grads = network()
    moved = run_steps(params, grads, 1, weight_decay=0.0, **fields)
    return [float(100 * (1 - x[0])) for x in jax.tree.leaves(moved)]


def test_clipping():
    assert first_step() == pytest.approx([3, 4], rel=1e-4)
    assert first_step(clip_norm=1.0) == pytest.approx([0.6, 0.8], rel=1e-4)
    assert first_step(clip_norm=10.0) == pytest.approx([3, 4], rel=1e-4)
    assert first_step(clip_element=3.5) == pytest.approx([3, 3.5], rel=1e-4)
    # What is frozen does not count in the norm.
    found = first_step(clip_norm=1.0, frozen=("backbone",))
    assert found == pytest.approx([0, 1], rel=1e-4)


def test_learning_rate_multipliers_by_name():
    found = first_step(lr_multipliers=("backbone/s*=0.5", "*/kernel=2", "head=0"))
    assert found == pytest.approx([3, 0], rel=1e-4)


def test_frozen_layers_do_not_change_and_have_no_state():
    params, grads = network()
    fields = {"frozen": ("backbone/stem",), "weight_decay": 0.5}
    moved = run_steps(params, grads, 3, **fields)
    assert moved["backbone"]["stem"]["kernel"] == 1
    assert moved["head"]["conv"]["kernel"] != 1
    optim_fields = optim_config(**fields)
    tx, _ = optim.optimizer(optim_fields, params, total_steps=1, batch_size=1)
    traces = [x for x in jax.tree.leaves(tx.init(params)) if x.ndim]
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"frozen": ("backbone/stam",)},
            "'backbone/stam', which matches no parameter; similar names: backbone/stem",
        ),
        ({"frozen": ("xyz",)}, "similar names: backbone, head$"),
        ({"undecayed": ("haed",)}, "optim.undecayed contains 'haed'.*head"),
        (
            {"frozen": ("backbone", "head")},
            "which freezes all parameters: remove a pattern",
        ),
        ({"lr_multipliers": ("haed=2",)}, "optim.lr_multipliers contains 'haed'.*head"),
        ({"lr_multipliers": ("head",)}, "expected PATTERN=FACTOR"),
        ({"lr_multipliers": ("head=-1",)}, "expected PATTERN=FACTOR"),
    ],
)
def test_patterns_without_match_are_refused(fields, message):
    params, _ = network()
    with pytest.raises(UserError, match=message):
        optim.optimizer(optim_config(**fields), params, total_steps=1, batch_size=1)
