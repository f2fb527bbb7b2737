"""Training end to end on generated scenes, without TensorFlow."""

import json
import os
import signal
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from encnet_jax import config as config_lib
from encnet_jax.checkpoints import read
from encnet_jax.errors import NotFiniteError, UserError
from encnet_jax.evaluate import run as run_lib
from encnet_jax.pods import parallel
from encnet_jax.report import events
from encnet_jax.train import initialise, loop, scalars, starts
from encnet_jax.train.assemble import assemble
from encnet_jax.train.logbook import Logbook
from encnet_jax.train.scalars import fetch
from encnet_jax.train.step import parallel_step, random_keys, train_step


def smoke_config(**fields):
    config = config_lib.load("configs/quickstart.py:smoke")
    config.model.head_channels, config.model.aux_channels = 16, 8
    config.data.crop_size = 32
    config.eval.max_images = 8
    config.train.num_pictures = 1
    config.update_from_flattened_dict(fields)
    return config


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
    step = parallel_step(parts.model, parts.tx, parts.task, config)
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


def test_two_collectives_for_each_batch_norm(eight_devices):
    params, text, _ = eight_devices
    leaves = jax.tree_util.tree_leaves_with_path(params)
    norms = sum(1 for path, _ in leaves if path[-1].key == "scale")
    # Besides: the gradients with the metrics, the counts of valid pixels and images.
    assert text.count("all_reduce") == 2 * norms + 1 + 1


def test_groups_average_what_their_batch_norms_saw():
    fields = {"model.dropout": 0.0, "model.norm_group": 2}
    config, parts = prepare("batch", **fields)
    step = parallel_step(parts.model, parts.tx, parts.task, config)
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


def test_a_group_that_does_not_divide_is_one_line(tmp_path):
    config = smoke_config(**{"model.norm_group": 3})
    with pytest.raises(UserError, match="0 .all. or one of 1, 2, 4, 8"):
        loop.train(config, str(tmp_path / "run"))


def test_buckets_hold_neighbours_up_to_a_size():
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


def test_rematerialisation_repeats_no_collective(eight_devices):
    _, text, _ = eight_devices
    config, parts = prepare("batch", **{"model.remat": True})
    lowered = parallel_step(parts.model, parts.tx, parts.task, config).lower(
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
    given = {"model": parts.model, "tx": parts.tx, "task": parts.task}
    return jax.jit(partial(train_step, config=config, axis_name=None, **given))


def test_accumulated_parts_equal_their_mean_gradient():
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
    expected = optax.incremental_update(state.params, before.ema_params, 0.5)
    for ours, theirs in zip(
        jax.tree.leaves(state.ema_params), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-7)
    assert state.eval_variables()["params"] is state.ema_params


def variables_of(workdir):
    return jax.tree.leaves(read.restore_variables(str(workdir))[0])


@pytest.fixture
def signal_at(monkeypatch):
    """Returns a function that makes a signal arrive after a step."""
    step_done = Logbook.step_done

    def arrange(wanted_step, number):
        def signalled(self, step, state, metrics):
            step_done(self, step, state, metrics)
            if step == wanted_step:
                os.kill(os.getpid(), number)

        monkeypatch.setattr(Logbook, "step_done", signalled)

    return arrange


def check_times(workdir, wall_s):
    """Both starts are there, nothing was lost, the second one's parts are its time."""
    first, second = starts.read(workdir)
    assert (first.from_step, first.to_step) == (0, 10)
    assert (second.from_step, second.to_step, second.lost_s) == (10, 20, 0)
    assert sum(second.seconds.values()) == pytest.approx(wall_s, rel=0.01, abs=0.1)
    for part in ("start-up", "compiling", "steps", "evaluation", "checkpoints"):
        assert second.seconds[part] > 0


def test_restart_changes_no_bit(tmp_path, signal_at):
    """20 steps equal 10, a stop, a restart, and 10 more."""
    config = smoke_config(**{"train.total_steps": 20})
    straight, broken = str(tmp_path / "straight"), str(tmp_path / "broken")
    loop.train(config, straight)
    signal_at(10, signal.SIGTERM)
    loop.train(config, broken)
    assert read.find_step(broken) == 10
    began = time.monotonic()
    loop.train(config, broken)
    check_times(broken, time.monotonic() - began)
    assert read.find_step(broken) == 20
    for a, b in zip(variables_of(straight), variables_of(broken), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of four steps."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    loop.train(smoke_config(), str(workdir))
    return workdir


def test_evaluation_reports_what_training_saw(finished, capsys):
    report = run_lib.evaluate_run(str(finished))
    written = json.loads((finished / "report.json").read_text())
    assert written == report
    seen = events.read_scalars(str(finished))
    for name in ("val/single/pixel_accuracy", "val/single/mean_iou"):
        # An event file keeps float32.
        assert report[name] == pytest.approx(seen[name][4], rel=1e-6)
    assert report["images"] == 8 and report["step"] == 4
    assert report["pixels"] == 8 * 192 * 192
    assert "ground" in capsys.readouterr().out
    best = read.find_step(str(finished), "best")
    assert best == 4


def test_changed_configuration_is_refused(finished):
    config = smoke_config(**{"optim.base_lr": 0.5})
    with pytest.raises(UserError, match="optim.base_lr was 0.05 and is now 0.5"):
        loop.train(config, str(finished))


def test_used_workdir_is_refused(finished):
    from encnet_jax.pods import workdir as workdir_lib

    with workdir_lib.locked(str(finished)):
        with pytest.raises(UserError, match="another run is using"):
            loop.train(smoke_config(), str(finished))


def test_missing_checkpoints_are_told(finished, tmp_path):
    with pytest.raises(UserError, match="no checkpoints in"):
        run_lib.evaluate_run(str(tmp_path))
    with pytest.raises(UserError, match="no checkpoint 3 .*there are: \\[4\\]"):
        run_lib.evaluate_run(str(finished), run_lib.Selection(checkpoint="3"))
    with pytest.raises(UserError, match="wanted a step or 'best'"):
        run_lib.evaluate_run(str(finished), run_lib.Selection(checkpoint="newest"))


def test_infinite_loss_stops_and_keeps_the_good_checkpoint(tmp_path):
    fields = {"optim.base_lr": 1e16, "train.checkpoint_every_steps": 1}
    with pytest.raises(NotFiniteError, match="NaN or infinite between steps") as info:
        loop.train(smoke_config(**fields), str(tmp_path / "run"))
    assert info.value.exit_status == 3
    for leaf in variables_of(tmp_path / "run"):
        assert np.isfinite(leaf).all()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_save_and_stop(tmp_path, signal_at, number):
    config = smoke_config(**{"train.total_steps": 1000, "train.eval_every_epochs": 0.0})
    signal_at(3, number)
    loop.train(config, str(tmp_path / "run"))
    assert read.find_step(str(tmp_path / "run")) == 3


def test_time_limit_saves_and_stops(tmp_path):
    config = smoke_config(**{"train.max_minutes": 1e-9})
    loop.train(config, str(tmp_path / "run"))
    assert read.find_step(str(tmp_path / "run")) == 1


def test_the_bar_says_what_it_waits_for_and_ends_above_the_last_line(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(sys, "stderr", sys.stdout)
    config = config_lib.resolve(smoke_config(), 64)
    with Logbook(str(tmp_path), config.train, start_step=0) as logbook:
        assert "compiling" in capsys.readouterr().out
        logbook.step_done(1, None, {})
        logbook.finish("trained")
    told = capsys.readouterr().out
    assert "compiling" not in told and told.endswith("\ntrained\n")


def test_init_from_another_run_skips_only_what_is_named(finished, tmp_path, capsys):
    config = smoke_config(init_from=str(finished))
    config.model.num_codes = 8
    config.train.max_minutes = 1e-9
    codewords = "params/head/context/encoding/codewords"
    message = r"12 arrays, first \S+_head/context/\S+: \[32\] there, \[8\] here"
    with pytest.raises(UserError, match=message):
        loop.train(config, str(tmp_path / "refused"))
    config.init_skip = "head/context, aux_head"
    loop.train(config, str(tmp_path / "run"))
    lines = capsys.readouterr().out.splitlines()
    assert f"  left at random: {codewords}" in lines
    assert not [line for line in lines if "random: params/backbone" in line]
    own = read.restore_variables(str(tmp_path / "run"))[0]
    assert own["params"]["head"]["context"]["encoding"]["codewords"].shape[0] == 8


def test_arrays_without_a_place_must_be_named_too():
    model, saved = {"params": {"a": np.zeros(2)}}, {"params": {"a": np.ones(2)}}
    saved["params"]["head"] = {"b": np.ones(3)}
    with pytest.raises(UserError, match=r"1 arrays, first params/head/b: \[3\] there"):
        initialise.take_matching(model, saved, "runs/x", ())
    with pytest.raises(UserError, match="params/head/b"):
        initialise.take_matching(model, saved, "runs/x", ("hea",))
    taken, lines = initialise.take_matching(model, saved, "runs/x", ("head",))
    np.testing.assert_equal(taken, {"params": {"a": np.ones(2)}})
    assert lines == ["took 1 of 1 arrays from runs/x", "  not used: params/head/b"]


def test_the_loop_fetches_only_what_is_logged(tmp_path, monkeypatch):
    """Six steps, values every three and at the save: two fetches, none between."""
    fetched = []

    def counted(metrics):
        fetched.append(sorted(metrics))
        return fetch(metrics)

    monkeypatch.setattr(scalars, "fetch", counted)
    fields = {"train.total_steps": 6, "train.log_every_steps": 3}
    config = smoke_config(**fields, **{"data.val_split": "", "optim.base_lr": 1e-3})
    loop.train(config, str(tmp_path / "run"))
    assert len(fetched) == 2 and "loss" in fetched[0]
    assert sorted(events.read_scalars(str(tmp_path / "run"))["train/loss"]) == [3, 6]
