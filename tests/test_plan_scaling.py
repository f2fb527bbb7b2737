"""The model of the network by hand, and the collectives of the lowered step."""

import json
import os
import subprocess
import sys

import jax
import pytest
from processes import PROJECT

from encnet_jax import config as config_lib
from encnet_jax.errors import UserError
from encnet_jax.plan import chips, collectives, compile, network, scaling
from encnet_jax.plan.collectives import AllReduce

TORUS = network.NETWORKS["v5e"]._replace(link_bytes_per_s=50e9)


@pytest.mark.parametrize(
    ("count", "axes", "shape"),
    [(1, 2, (1, 1)), (8, 2, (2, 4)), (256, 2, (16, 16)), (8, 3, (2, 2, 2))],
)
def test_slices_are_compact(count, axes, shape):
    assert network.slice_shape(count, axes) == shape


def test_a_slice_is_a_power_of_two():
    with pytest.raises(ValueError, match="12 chips; expected a power of two"):
        network.slice_shape(12, 2)


def test_all_reduce_times_equal_a_calculation_by_hand():
    def seconds(num_bytes, count):
        return network.all_reduce_seconds(num_bytes, count, TORUS)

    assert seconds(1e8, 1) == 0
    # 2x2, open: two axes of one way each, one hop along each, there and back.
    assert seconds(1e8, 4) == pytest.approx(2 * (0.75e8 / 100e9 + 2e-6))
    # 16x16, joined: two ways an axis; at most 8 hops along each.
    assert seconds(1e8, 256) == pytest.approx(2 * (1e8 * 255 / 256 / 200e9 + 16e-6))
    # 4 slices: besides, each chip's 256th to the other slices through the hosts.
    between = 2 * (1e8 / 256 * 3 / 4 / TORUS.between_bytes_per_s + 50e-6)
    assert seconds(1e8, 1024) == pytest.approx(seconds(1e8, 256) + between)


def test_open_axes_are_slower_than_connected_ones():
    cube = network.NETWORKS["v4"]
    # 2x2x4: its side of four is open because the slice is no whole cube: 5 hops.
    open_one = network.all_reduce_seconds(0, 16, cube)
    assert open_one == pytest.approx(2 * (1 + 1 + 3) * 1e-6)
    joined = network.all_reduce_seconds(0, 64, cube)
    assert joined == pytest.approx(2 * (2 + 2 + 2) * 1e-6)


def test_all_reduces_of_a_text():
    text = """
      %4 = "stablehlo.all_reduce"(%3) <{channel_handle = #stablehlo.channel_handle<\
handle = 1, type = 1>, replica_groups = dense<[[0, 1], [2, 3]]> : tensor<2x2xi64>}> ({
      ^bb0(%a: tensor<f32>, %b: tensor<f32>):
        %9 = stablehlo.add %a, %b : tensor<f32>
        stablehlo.return %9 : tensor<f32>
      }) : (tensor<2x64xf32>) -> tensor<2x64xf32>
      %5 = stablehlo.add %4, %4 : tensor<2x64xf32>
"""
    assert collectives.all_reduces(text) == [AllReduce(512, 2)]


def lowered(devices, **fields):
    """The tiny network's step; returns its all-reduces and its parameters."""
    config = config_lib.load("configs/ade20k.py:release,tiny")
    config.data.crop_size = 32
    config.update_from_flattened_dict(fields)
    config = config_lib.resolve(config, config_lib.Facts(1000))
    program, params = compile.lower_train_step(config, 13, devices, images=1)
    return collectives.all_reduces(program.as_text()), params


def check_counts(reduces, params, devices, norm_group):
    """Every batch norm twice, all gradients with the metrics once, one of counts."""
    paths = jax.tree_util.tree_leaves_with_path(params)
    channels = [x.size for path, x in paths if path[-1].key == "scale"]
    group = norm_group or devices
    # f32[2, C] forward and backward.
    expected = [AllReduce(8 * size, group) for size in channels for _ in range(2)]
    rest = list(reduces)
    for one in expected:
        rest.remove(one)
    gradients = max(rest)
    rest.remove(gradients)
    assert len(rest) == 1 and rest[0].num_bytes <= 16 and rest[0].group == devices
    size = sum(x.size for _, x in paths)
    # The running statistics travel along where groups have their own.
    size += 2 * sum(channels) if group < devices else 0
    # Besides: the loss and its terms.
    assert size + 1 <= gradients.num_bytes / 4 <= size + 8
    assert gradients.group == devices


@pytest.mark.parametrize("norm_group", [0, 2])
def test_collectives_of_eight_devices(norm_group):
    reduces, params = lowered(jax.devices(), **{"model.norm_group": norm_group})
    check_counts(reduces, params, 8, norm_group)


@pytest.mark.slow
def test_collectives_of_sixteen_and_sixty_four_devices():
    code = (
        "import jax; jax.config.update('jax_num_cpu_devices', 64);"
        " import test_plan_scaling as t\n"
        "for n, group in ((16, 0), (64, 0), (64, 16)):\n"
        "    fields = {'model.norm_group': group}\n"
        "    reduces, params = t.lowered(jax.devices()[:n], **fields)\n"
        "    t.check_counts(reduces, params, n, group)\n"
        "    print(n, len(reduces))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env={**os.environ, "XLA_FLAGS": "", "PYTHONPATH": f"{PROJECT}:{PROJECT}/tests"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    counts = {line.split()[1] for line in done.stdout.splitlines()}
    assert len(counts) == 1 and done.stdout.count("\n") == 3


REDUCES = [AllReduce(4096, 8)] * 100 + [AllReduce(10**8, 8)]


def test_rows_add_up():
    steps = {1: 0.010, 8: 0.040}
    rows = {row.chips: row for row in scaling.weak_scaling(steps, REDUCES, TORUS)}
    alone, pod = rows[1], rows[256]
    assert alone.efficiency == 1 and alone.images_per_s == pytest.approx(200)
    norm = 100 * network.all_reduce_seconds(4096, 256, TORUS)
    gradients = network.all_reduce_seconds(1e8, 256, TORUS)
    assert pod.norm_s == pytest.approx(norm)
    step = 0.040 + norm + gradients
    assert pod.images_per_s == pytest.approx(256 * 8 / step)
    assert pod.efficiency == pytest.approx(0.040 / step)
    assert pod.cores == pytest.approx(4 * 8 / step / scaling.INPUT_IMAGES_PER_CORE)
    shares = scaling.fixed_batch(16, steps, REDUCES, TORUS)
    assert [(row.chips, row.images) for row in shares] == [(16, 1)]


def test_a_short_step_waits_for_the_host_that_dispatches_it():
    one_host, pod = TORUS.chips_per_host, 256
    by_chips = {
        row.chips: row
        for row in scaling.weak_scaling({8: 0.005}, [AllReduce(0, 8)], TORUS, 3000)
    }
    assert by_chips[one_host].efficiency > 0.99  # 3.9 ms of dispatch do not matter.
    assert by_chips[pod].images_per_s == pytest.approx(pod * 8 / 0.0078)
    assert by_chips[pod].efficiency == pytest.approx(5 / 7.8)
    scales = {"norm": {"scale": 0, "bias": 0}, "conv": {"kernel": 0}}
    assert scaling.state_arrays(scales, averaged=True) == 3 * 3 + 2


def test_groups_stay_small_on_a_pod():
    grouped = [AllReduce(4096, 2)] * 100 + REDUCES[-1:]
    rows = scaling.weak_scaling({8: 0.040}, grouped, TORUS)
    norm = 100 * network.all_reduce_seconds(4096, 2, TORUS)
    assert rows[-1].norm_s == pytest.approx(norm)
    assert rows[-1].gradient_s == pytest.approx(
        network.all_reduce_seconds(1e8, 1024, TORUS)
    )


def test_a_step_is_bound_by_arithmetic_or_memory():
    plans = {8: {"flops_per_image": 1e12, "bytes_per_image": 4e9}}
    chip = chips.Chip(2**34, 200e12, 400e9, "default")
    assert scaling.step_seconds(plans, chip) == {8: pytest.approx(0.08)}
    fast = chip._replace(bytes_per_s=4e12)
    assert scaling.step_seconds(plans, fast) == {8: pytest.approx(0.04)}


def test_plans_are_read_by_chip_and_images(tmp_path):
    path = tmp_path / "plans.txt"
    plan = {"topology": "v5e:2x4", "images_per_chip": 2}
    plan |= {"flops_per_image": 2.0, "bytes_per_image": 1.0}
    path.write_text(f"ade20k on v5e\n{json.dumps(plan)}\n")
    assert scaling.read_plans(str(path)) == {"v5e": {2: plan}}
    path.write_text("nothing\n")
    with pytest.raises(UserError, match="has no plan"):
        scaling.read_plans(str(path))
    with pytest.raises(UserError, match="No such file"):
        scaling.read_plans(str(tmp_path / "none"))
