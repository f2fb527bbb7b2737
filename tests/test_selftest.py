"""The self-test detects differences, and a CPU passes it."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax.models import norm
from encnet_jax.selftest import __main__ as selftest
from encnet_jax.selftest import checks


def stored() -> dict:
    return json.loads(selftest.EXPECTED.read_text())


def test_precision_is_measured(monkeypatch):
    assert selftest.find_precision().name == "float32"

    def rounded(a, b):
        a, b = (x.astype(jnp.bfloat16).astype(jnp.float32) for x in (a, b))
        return jnp.einsum("ij,jk->ik", a, b, precision="highest")

    monkeypatch.setattr(jnp, "matmul", rounded)
    assert selftest.find_precision().name == "one pass of bfloat16"


def test_differences_are_relative_to_the_largest_value():
    assert checks.largest_difference([1.0, -2.1], [1.0, -2.0]) == pytest.approx(0.05)
    assert checks.largest_difference([1.0, np.nan], [1.0, 2.0]) == np.inf
    assert checks.largest_difference([1.0], [1.0, 2.0]) == np.inf


def test_differences_do_not_pass():
    expected = {
        "float32/forward": {"logits": [1.0, -2.0], "se_logits": [100.0]},
        "bfloat16/forward": {"logits": [1.0, -2.0]},
    }
    found = {
        "float32/forward": {"logits": [1.0, -2.1], "se_logits": [100.0]},
        "bfloat16/forward": {"logits": [1.0, -2.1]},
    }
    float32 = selftest.PRECISIONS[0]
    lines = selftest.compare(found, expected, float32)
    assert [line.passed for line in lines] == [False, True]
    # What was not computed differs as well.
    assert not selftest.compare({}, expected, float32)[0].passed


def test_batch_norm_over_all_devices(monkeypatch):
    assert checks.shared_statistics() < selftest.STATISTICS_WITHIN
    monkeypatch.setattr(norm, "_mean_over", lambda moments, axis: moments)
    assert checks.shared_statistics() > 0.01


def test_a_forward_pass_gives_the_stored_numbers():
    found = checks.forward(checks.make_parts("float32"))
    for name, numbers in stored()["float32/forward"].items():
        assert checks.largest_difference(found[name], numbers) < 1e-4


@pytest.mark.slow
def test_the_selftest_passes_on_a_cpu():
    lines = selftest.compare(selftest.measure(), stored(), selftest.PRECISIONS[0])
    lines += selftest.machine_checks()
    assert len(lines) == 8 and all(line.passed for line in lines)
