"""The training step on several devices, in groups and parts; its random keys."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_train_loop import smoke_config

from encnet_jax import config as config_lib
from encnet_jax.errors import UserError
from encnet_jax.pods import parallel
from encnet_jax.train.assemble import assemble
from encnet_jax.train.step import parallel_step, random_keys, single_step


def random_batch(num_images, num_classes=5, size=32):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, num_classes, (num_images, size, size)).astype(np.uint8)
    labels[0, :20] = 255
    images = rng.integers(0, 256, (num_images, size, size, 3)).astype(np.uint8)
    return {"image": images, "label": labels}


def prepare(axis_name, **fields):
    config = config_lib.resolve(smoke_config(**fields))
    return config, assemble(config, 5, axis_name=axis_name)


@pytest.fixture(scope="module")
def eight_devices():
    """One step of EncNet on eight devices and its lowered text."""
    config, parts = prepare("batch", **{"model.dropout": 0.0})
    step = parallel_step(parts.step)
    state, batch = parallel.replicate(parts.state), parallel.shard(random_batch(8))
    text = step.lower(state, batch).as_text()
    return state.params, text, step(state, batch)


def test_eight_devices_equal_one(eight_devices):
    _, _, (state, metrics) = eight_devices
    config, parts = prepare(None, **{"model.dropout": 0.0})
    alone, expected = on_one_device(config, parts)(parts.state, random_batch(8))
    for name, value in expected.items():
        np.testing.assert_allclose(metrics[name], value, rtol=2e-4, err_msg=name)
    for ours, theirs in zip(
        jax.tree.leaves((state.params, state.batch_stats)),
        jax.tree.leaves((alone.params, alone.batch_stats)),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-5)


def test_shard_map_gives_the_bits_of_pmap(eight_devices, monkeypatch):
    config, parts = prepare("batch", **{"model.dropout": 0.0})
    monkeypatch.setenv("ENCNET_STEP", "shard_map")
    step = parallel_step(parts.step)
    state, batch = parallel.replicate(parts.state), parallel.shard(random_batch(8))
    ours, theirs = step(state, batch), eight_devices[2]
    for (path, x), y in zip(
        jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(theirs), strict=True
    ):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes(), path
    assert int(ours[0].step) == 1
    monkeypatch.setenv("ENCNET_STEP", "vmap")
    with pytest.raises(UserError, match="ENCNET_STEP is 'vmap'; expected 'pmap' or"):
        parallel_step(parts.step)


@pytest.mark.parametrize("form", ["pmap", "shard_map"])
def test_mapped_functions_use_groups_and_their_own_keys(form, monkeypatch):
    monkeypatch.setenv("ENCNET_STEP", form)

    def on_device(scale, rows):
        groups = [[0, 1], [2, 3], [4, 5], [6, 7]]
        pair = jax.lax.psum(rows.sum(), "batch", axis_index_groups=groups)
        keys = random_keys(3, jnp.int32(0), "batch")
        bits = jax.random.bits(keys["dropout"])
        return jax.lax.all_gather((scale * pair, bits), "batch")

    layout = parallel.SHARED, parallel.ROWS
    mapped = parallel.mapped(on_device, layout, axis_name="batch")
    rows = parallel.shard(np.arange(16, dtype=np.float32))
    sums, bits = mapped(parallel.replicate(jnp.float32(2)), rows)
    # Devices 0 and 1 have 0 + 1 + 2 + 3 = 6, twice that is 12; each pair adds 16 more.
    assert sums.tolist() == [12, 12, 44, 44, 76, 76, 108, 108]
    expected = [
        jax.random.bits(
            jax.random.fold_in(
                jax.random.split(jax.random.fold_in(jax.random.key(3), 0))[0], i
            )
        )
        for i in range(8)
    ]
    assert bits.tolist() == [int(x) for x in expected]


def test_two_collectives_for_each_batch_norm(eight_devices):
    params, text, _ = eight_devices
    leaves = jax.tree_util.tree_leaves_with_path(params)
    norms = sum(1 for path, _ in leaves if path[-1].key == "scale")
    # Besides: the gradients with the metrics, the counts of valid pixels and images.
    assert text.count("all_reduce") == 2 * norms + 1 + 1


def test_groups_average_the_statistics_of_their_batch_norms():
    fields = {"model.dropout": 0.0, "model.norm_group": 2}
    config, parts = prepare("batch", **fields)
    step = parallel_step(parts.step)
    batch, state = random_batch(8), parts.state
    start, sharded = parallel.replicate(state), parallel.shard(batch)
    text = step.lower(start, sharded).as_text()
    pairs = "dense<[[0, 1], [2, 3], [4, 5], [6, 7]]>"
    leaves = jax.tree_util.tree_leaves_with_path(state.params)
    norms = sum(1 for path, _ in leaves if path[-1].key == "scale")
    assert text.count("all_reduce") == 2 * norms + 1 + 1
    assert text.count(pairs) == 2 * norms

    _, alone = prepare(None, **fields)

    @jax.jit
    def statistics(images):
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        _, updates = alone.model.apply(
            variables,
            parts.task.normalise(images),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )
        return updates["batch_stats"]

    seen = [statistics(batch["image"][i : i + 2]) for i in range(0, 8, 2)]
    expected = jax.tree.map(lambda *each: sum(each) / 4, *seen)
    after, _ = step(start, sharded)
    ours = jax.tree_util.tree_leaves_with_path(after.batch_stats)
    for (path, values), wanted in zip(ours, jax.tree.leaves(expected), strict=True):
        for shard in values.addressable_shards:
            np.testing.assert_allclose(
                shard.data, wanted, rtol=1e-3, atol=1e-4, err_msg=str(path)
            )


def test_buckets_join_neighbours_up_to_a_size():
    tree = {
        "a": jnp.ones(2),
        "b": jnp.ones((2, 2)),
        "c": jnp.ones(9),
        "d": jnp.ones(()),
    }
    tree = jax.tree.map(lambda x: jnp.stack([x * (i + 1) for i in range(8)]), tree)

    def total(tree):
        return parallel.sum_in_buckets(tree, "batch", bucket_bytes=24)

    program = jax.pmap(total, "batch", out_axes=None)
    # a with b, c alone because it is too large, d.
    assert program.lower(tree).as_text().count("all_reduce") == 3
    for name, ours in program(tree).items():
        np.testing.assert_array_equal(ours, np.asarray(tree[name]).sum(0))


def test_rematerialisation_does_not_repeat_collectives(eight_devices):
    _, text, _ = eight_devices
    config, parts = prepare("batch", **{"model.remat": True})
    lowered = parallel_step(parts.step).lower(
        parallel.replicate(parts.state), parallel.shard(random_batch(8))
    )
    assert lowered.as_text().count("all_reduce") == text.count("all_reduce")


def test_dropout_differs_by_device_and_step_but_not_by_run():
    def bits(step, stream, seed=3):
        def on_device(_):
            keys = random_keys(seed, jnp.int32(step), "batch")
            return jax.random.bits(keys[stream], (2,))

        return np.asarray(jax.pmap(on_device, "batch")(jnp.zeros(8)))

    first = bits(0, "dropout")
    assert len(np.unique(first, axis=0)) == 8
    np.testing.assert_array_equal(bits(0, "dropout"), first)
    assert (bits(1, "dropout") != first).all()
    assert (bits(0, "dropout", seed=4) != first).all()
    # Smoothing factors are drawn once for all devices, and never as dropout is.
    smoothing = bits(0, "smoothing")
    assert len(np.unique(smoothing, axis=0)) == 1
    assert (smoothing != first).all()


def on_one_device(config, parts):
    """Returns the compiled training step without a pmap axis."""
    return single_step(parts.step)


def test_accumulation_averages_gradients():
    fields = {"model.dropout": 0.0, "optim.weight_decay": 0.0}
    half = random_batch(2)
    whole = jax.tree.map(lambda x: np.concatenate([x, x]), half)
    config, parts = prepare(None, **fields)
    _, expected = on_one_device(config, parts)(parts.state, half)
    config, parts = prepare(None, **fields, **{"train.accumulate": 2})
    _, metrics = on_one_device(config, parts)(parts.state, whole)
    # Two equal halves have the gradient of one.
    np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], expected["grad_norm"], rtol=1e-3)


def test_loss_falls_on_a_repeated_batch_and_ema_follows():
    fields = {"optim.ema_decay": 0.5, "train.total_steps": 30}
    config, parts = prepare(None, **fields)
    step, state = on_one_device(config, parts), parts.state
    losses, batch = [], random_batch(4)
    batch["label"][:, :16], batch["label"][:, 16:] = 1, 3  # What can be learned.
    for _ in range(24):
        before = state
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss_pixel"]))
    assert losses[-1] < 0.9 * losses[0]
    first, _ = step(parts.state, batch)
    for after, earlier, rate in ((first, parts.state, 0.9), (state, before, 0.5)):
        expected = optax.incremental_update(after.params, earlier.ema_params, rate)
        for ours, theirs in zip(
            jax.tree.leaves(after.ema_params), jax.tree.leaves(expected), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    assert state.eval_variables()["params"] is state.ema_params


def test_a_linear_probe_changes_only_the_head():
    """train.freeze: the backbone does not change, nor do its statistics."""
    config, parts = prepare("batch", **{"train.freeze": "backbone"})
    state = parts.state
    assert config.optim.frozen == ("backbone",)
    before = jax.tree.map(np.asarray, (state.params, state.batch_stats))
    step = parallel_step(parts.step)
    state, _ = step(parallel.replicate(state), parallel.shard(random_batch(8)))
    after = jax.tree.map(np.asarray, (state.params, state.batch_stats))
    for old, new in zip(before, after, strict=True):
        jax.tree.map(np.testing.assert_array_equal, old["backbone"], new["backbone"])
        pairs = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
        assert not all(np.array_equal(x, y) for x, y in pairs)
