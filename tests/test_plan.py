"""The plan: costs read from the compiler, and estimates made from them."""

import importlib.util
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest
from processes import PROJECT

from encnet_jax import config as config_lib
from encnet_jax.errors import UserError
from encnet_jax.plan import __main__ as plan_main
from encnet_jax.plan import chips, compile, compiled_text
from encnet_jax.train.assemble import assemble

COST = compile.Cost(
    images=2,
    hbm_bytes=3 * 2**30,
    temporary_bytes=2 * 2**30,
    flops=2e12,
    bytes_accessed=8e9,
    cycles=10**8,
    all_reduces=110,
    all_reduce_bytes=160_000_000,
    compile_s=90.0,
)


def test_all_reduces_are_counted_with_their_bytes():
    text = """
  %all-reduce.1 = f32[2,64]{1,0:T(8,128)} all-reduce(%fusion.3), channel_id=1
  %x = (f32[10]{0}, bf16[3,5]{1,0}, f32[]) all-reduce(%a, %b, %c), channel_id=2
  %start = f32[7]{0} all-reduce-start(%p), channel_id=3
  %done = f32[7]{0} all-reduce-done(%start)
  %add = f32[9]{0} add(%all-reduce.1, %y)
"""
    assert compiled_text.all_reduce_sizes(text) == [512, 40 + 30 + 4, 28]


def test_cycles_of_a_loop_count_every_iteration():
    text = """
%body.1 (wide.param.1: (s32[])) -> (s32[]) {
  %a = f32[9]{0} fusion(%p), backend_config={"estimated_cycles":"100","x":"1"}
}
ENTRY %main.2 (p: f32[9]) -> f32[9] {
  %b = f32[9]{0} fusion(%p), backend_config={"estimated_cycles":"7"}
  %w = (s32[]) while(%t), condition=%condition.3, body=%body.1, metadata={}
}
"""
    assert compiled_text.estimated_cycles(text, loop_trips=8) == 807


def speed(accumulate=1, flops_per_s=200e12, bytes_per_s=800e9):
    chip = chips.Chip(16 * 2**30, flops_per_s, bytes_per_s, "default")
    train = SimpleNamespace(accumulate=accumulate, total_steps=3600, batch_size=16)
    return plan_main._speed(COST, chip, train, num_chips=8)


def test_the_slower_of_arithmetic_and_memory_bounds_the_speed():
    # 1e12 operations at 200e12/s and 4e9 bytes at 800e9/s: 5 ms each; then 10 ms.
    assert speed()["images_per_s_per_chip"] == pytest.approx(200)
    bound = speed(flops_per_s=100e12)
    assert bound["bound_by"] == "arithmetic"
    assert bound["images_per_s_per_chip"] == pytest.approx(100)
    assert bound["hours"] == pytest.approx(16 / (8 * 100))
    assert speed(bytes_per_s=400e9)["bound_by"] == "memory"
    # Of two parts the compiler counts one, which has half of the images.
    assert speed(accumulate=2)["flops_per_image"] == pytest.approx(2e12)


def largest(fits, compiled):
    """Every image needs 0.5 GiB, everything else 1 GiB."""

    def train_cost(images):
        compiled.append(images)
        if images > fits:
            return None
        return COST._replace(images=images, hbm_bytes=(1 + images / 2) * 2**30)

    return plan_main._largest_batch(train_cost, COST, hbm_bytes=15.75 * 2**30)


def test_the_largest_batch_is_predicted_and_confirmed():
    compiled = []
    found = largest(fits=29, compiled=compiled)
    assert found["largest_batch"] == 24 and found["largest_batch_confirmed"]
    assert found["hbm_per_image"] == 2**29
    assert compiled == [8, 16, 24]
    assert not largest(fits=23, compiled=[])["largest_batch_confirmed"]
    assert largest(fits=10, compiled=[])["largest_batch"] == 8
    assert largest(fits=2, compiled=[])["largest_batch"] == 2


def test_a_report_marks_a_step_that_exceeds_the_memory():
    report = {
        "config": "ade20k",
        "topology": "v5e:2x4",
        "chips": 8,
        "images_per_chip": 64,
        "hbm_per_chip": 2**34,
        "fits": False,
    }
    lines = plan_main.format_report(report).splitlines()
    assert lines[0] == "ade20k on v5e:2x4 (8 chips)"
    assert any("fits in memory" in line and "NO" in line for line in lines)


@pytest.mark.parametrize("name", ["v5e", "v9:2x2", "tpu"])
def test_unknown_topologies_are_refused(name):
    with pytest.raises(UserError, match="expected CHIP:SHAPE"):
        chips.open_topology(name)


def test_a_missing_libtpu_is_reported(monkeypatch):
    monkeypatch.setitem(sys.modules, "libtpu", None)
    with pytest.raises(UserError, match="pip install .jax.tpu.=="):
        chips.open_topology("v5e:2x4")


def test_a_batch_that_does_not_divide_by_the_chips_is_refused(monkeypatch):
    chip = chips.CHIPS["v5e"]
    monkeypatch.setattr(chips, "open_topology", lambda _: (chip, [None] * 32))
    with pytest.raises(UserError, match=r"a multiple of 32 \(32 chips"):
        plan_main.plan(
            config_lib.load("configs/ade20k.py:tiny"), "v5e:4x8", "ade20k-tiny"
        )


@pytest.mark.slow
def test_the_real_programs_are_measured(monkeypatch):
    """The whole plan, compiled for this machine's virtual devices."""
    chip = chips.CHIPS["v5e"]
    monkeypatch.setattr(chips, "open_topology", lambda _: (chip, jax.devices()[:2]))
    monkeypatch.setattr(plan_main, "_largest_batch", lambda *_: {})
    config = config_lib.load("configs/quickstart.py:smoke")
    config.data.crop_size = 32
    report = plan_main.plan(config, "v5e:1x2", "quickstart-smoke")
    assert report["fits"] and report["images_per_chip"] == 4
    assert report["hours"] == pytest.approx(
        4 * 8 / (2 * report["images_per_s_per_chip"]) / 3600
    )
    assert report["flops_per_image"] > 1e7 and report["bytes_per_image"] > 1e6
    assert 0 < report["hbm"] < 2**30 and 0 < report["eval_hbm"] < 2**30
    # Every gradient, 4 bytes for each of 0.415 million parameters, and the statistics
    # of 20 batch norms both ways, of which the compiler joins some.
    assert 20 < report["all_reduces"] <= 110
    assert 4 * 0.4148e6 < report["all_reduce_bytes"] < 4 * 0.44e6
    assert "quickstart-smoke on v5e:1x2 (2 chips)" in plan_main.format_report(report)


def test_classifiers_can_be_planned(monkeypatch):
    chip = chips.CHIPS["v5e"]
    monkeypatch.setattr(chips, "open_topology", lambda _: (chip, jax.devices()[:2]))
    monkeypatch.setattr(plan_main, "_largest_batch", lambda *_: {})
    config = config_lib.load("configs/imagenet.py:tiny,small")
    config.data.name, config.train.batch_size = "imagenet2012", 256
    report = plan_main.plan(config, "v5e:1x2", "imagenet-tiny")
    assert report["images_per_chip"] == 128 and report["fits"] and report["eval_fits"]
    images = report["hours"] * 3600 * 2 * report["images_per_s_per_chip"]
    assert images == pytest.approx(90 * 1_281_167, rel=1e-3)


def test_a_plan_of_the_step_compiles_nothing_else(monkeypatch):
    chip, compiled = chips.CHIPS["v5e"], []

    def train_cost(config, num_classes, devices, images):
        compiled.append(images)
        return COST._replace(images=images)

    monkeypatch.setattr(chips, "open_topology", lambda _: (chip, [None] * 8))
    monkeypatch.setattr(compile, "train_cost", train_cost)
    monkeypatch.setattr(compile, "eval_cost", lambda *_: pytest.fail("compiled"))
    config = config_lib.load("configs/ade20k.py")
    report = plan_main.plan(config, "v5e:2x4", "ade20k", step_only=True)
    assert compiled == [2] and report["fits"] and report["hbm"] == COST.hbm_bytes
    assert report["hours"] > 0 and "largest_batch" not in report


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed"
)
def test_the_tiny_network_compiles_for_a_slice():
    command = ["-m", "encnet_jax.plan", "--config=configs/ade20k.py:tiny"]
    command += ["--topology=v5e:2x4", "--config.data.crop_size=64"]
    done = subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT,
        env={**os.environ, "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["fits"] and report["eval_fits"] and report["chips"] == 8
    config = config_lib.resolve(
        config_lib.load("configs/ade20k.py:tiny"), config_lib.Facts(20_210)
    )
    params = assemble(config, 150, only_shapes=True).state.params
    leaves = jax.tree_util.tree_leaves_with_path(params)
    gradients = 4 * sum(x.size for _, x in leaves)
    # Two moments of every channel, and of their gradients; the compiler joins some.
    moments = 16 * sum(x.size for path, x in leaves if path[-1].key == "scale")
    # A shortcut's norm and the last of its block are added: their biases have one
    # gradient, and the compiler sends it once.
    twice = 4 * sum(
        x.size
        for path, x in leaves
        if [key.key for key in path[-2:]] == ["shortcut_norm", "bias"]
    )
    sums = report["all_reduce_bytes"]
    assert gradients + moments - twice <= sums < gradients + moments + 200
    assert report["largest_batch"] >= 8
