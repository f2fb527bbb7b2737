"""Initial weights against those of the authors' freshly initialised networks."""

import functools
import json
import math
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_models

from encnet_jax import models, torch_weights

pytestmark = pytest.mark.golden

LARGE = 2048  # Deviations of arrays of more values than this agree within 5 %.
SEEDS = 3  # The reference's moments are means over so many draws, its extremes of all.
SIGMAS = 5.0  # Standard errors that a statistic may be off.
RARE = 12.0  # A bound is broken with probability exp(-12).

PATH = reference_models.FOLDER / "golden" / "init" / "init.json"
NETWORKS = json.loads(PATH.read_text()) if PATH.is_file() else {}


@pytest.mark.parametrize("name", NETWORKS or reference_models.ABSENT)
def test_every_parameter_is_initialised_as_by_the_authors(reference_dir, name):
    expected = NETWORKS[name]
    ours = draw(*described(name, expected))
    wrong = {n: fault for n in expected if (fault := difference(ours[n], expected[n]))}
    assert not wrong
    assert ours.keys() == expected.keys()


def described(name: str, arrays: dict):
    """Returns (resolved model, C) of a network such as 'fcn_resnet50s_ade'."""
    model, backbone, *_ = name.split("_")
    switches = {"lateral": "head.connect.", "se_loss": "head.encmodule.selayer."}
    options = {
        option: any(n.startswith(prefix) for n in arrays)
        for option, prefix in (switches | {"aux": "auxlayer."}).items()
    }
    reference = {"model": model, "backbone": backbone, "options": options}
    num_classes = arrays["auxlayer.conv5.4.bias"]["shape"][0]
    return reference_models.release_model(reference), num_classes


def draw(m, num_classes: int) -> dict[str, np.ndarray]:
    """Returns freshly drawn parameters under the authors' names."""
    model = models.build(m, num_classes)
    # The backbone is one module in all networks: it is drawn once for all of them.
    backbone = draw_backbone(m.backbone, m.stem)
    variables = _compiled(
        lambda key: model.apply(
            backbone,
            jnp.zeros((1, 32, 32, 3)),
            rngs={"params": key},
            mutable=["params", "batch_stats"],
        )[1]
    )
    arrays = torch_weights.to_state_dict(
        jax.device_get(variables), m, torch_weights.find("authors")
    )
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    return {n: x for n, x in arrays.items() if not n.endswith(buffers)}


@functools.cache
def draw_backbone(backbone: str, stem: str) -> dict:
    m = reference_models.model_config(
        "release", name="fcn", aux="none", backbone=backbone, stem=stem
    )
    model = models.build(m, 1)

    def draw_fn(key):
        variables = model.init(key, jnp.zeros((1, 32, 32, 3)))
        # Inside of the compiled program, so that the head is not drawn.
        return {name: {"backbone": x["backbone"]} for name, x in variables.items()}

    return _compiled(draw_fn)


def _compiled(draw_fn):
    # Optimising the machine code takes longer than running it once.
    options = {"xla_backend_optimization_level": 0}
    return jax.jit(draw_fn, compiler_options=options)(jax.random.key(0))


def difference(ours: np.ndarray, theirs: dict) -> str:
    """Says how a parameter differs from the reference's draws; '' if it does not.

    Args:
        ours: one draw of n values.
        theirs: {'shape', 'mean', 'std', 'min', 'max'} of SEEDS draws: zeros or ones
            alone, a uniform or a normal distribution.
    """
    if list(ours.shape) != theirs["shape"]:
        return f"shape {ours.shape}, wanted {theirs['shape']}"
    n, mean, std = ours.size, theirs["mean"], theirs["std"]
    if std == 0:
        return "" if np.all(ours == mean) else f"{ours.mean():.3g}, wanted {mean} alone"
    uniform = max(theirs["max"] - mean, mean - theirs["min"]) < 2.5 * std
    # Standard errors: of a mean std / sqrt(n), of a deviation std / sqrt(2 n) if the
    # distribution is normal and std / sqrt(5 n) if it is uniform.
    error = SIGMAS * math.sqrt((1 + 1 / SEEDS) / n)
    of_std = 0.05 if n > LARGE else error / math.sqrt(5 if uniform else 2)
    if abs(ours.mean() - mean) > error * std:
        return f"mean {ours.mean():.3g}, wanted {mean:.3g}"
    if abs(ours.std() - std) > of_std * std:
        return f"deviation {ours.std():.3g}, wanted {std:.3g}"
    limits = _uniform_extremes if uniform else _normal_extremes
    for side, found in (("max", ours.max()), ("min", -ours.min())):
        low, high = limits(n, theirs, side)
        if not low <= found <= high:
            return f"{side}: {found:.3g} away from 0, wanted {low:.3g} to {high:.3g}"
    return ""


def _uniform_extremes(n: int, theirs: dict, side: str) -> tuple[float, float]:
    """Bounds of the largest of n values, by the largest of SEEDS * n (or smallest)."""
    extreme = theirs["max"] if side == "max" else -theirs["min"]
    span = theirs["max"] - theirs["min"]
    step, rounding = RARE * span / n, 1e-5 * span  # The reference has six digits.
    return extreme - step - rounding, extreme + step / SEEDS + rounding


def _normal_extremes(n: int, theirs: dict, side: str) -> tuple[float, float]:
    """Bounds of the largest of n values of deviation `std`."""
    del side
    tail = NormalDist(0, theirs["std"])
    return tail.inv_cdf(1 - RARE / n), tail.inv_cdf(1 - math.exp(-RARE) / n)
