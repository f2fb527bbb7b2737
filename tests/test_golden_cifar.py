"""The authors' CIFAR-10 networks: every cifar_*.json of the reference data."""

import contextlib
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_models
from reference_cifar import (
    NAMES,
    configuration,
    draws_of,
    evaluate,
    json_of,
    load,
    train,
)

from encnet_jax import config as config_lib
from encnet_jax import tasks, torch_weights
from encnet_jax.models import cifar
from encnet_jax.train import optim

pytestmark = pytest.mark.golden

# What single precision may differ by: the largest difference over the array's largest
# absolute value, or the relative difference of a number. Double: 1e-9 everywhere.
ALLOWED = {
    "outputs": 5e-6,
    "losses": (2e-6, 5e-5, 2e-3),
    "grad_norm": 1e-2,
    "grad_norm_median": 1e-3,
    "grad": 2e-2,
    "running": 1e-6,
    "weights": 1e-4,
    "update_norm": 1e-2,
}
DOUBLE = 1e-9
NOT_TRAINED = ("running_mean", "running_var", "num_batches_tracked")


class Run(NamedTuple):
    """What a reference and our network computed.

    Attributes:
        reference, arrays: of the reference's .json and .npz, of this precision.
        evaluation: {array's name: ours}.
        logits, losses: of the training batch.
        grads, before, after: our gradients and variables in PyTorch's names.
        double: whether in double precision.
    """

    reference: dict
    arrays: dict
    evaluation: dict
    logits: np.ndarray
    losses: list
    grads: dict
    before: dict
    after: dict
    double: bool


@pytest.fixture(
    scope="module",
    params=[(n, d) for n in NAMES or reference_models.ABSENT for d in (False, True)],
    ids=lambda param: f"{param[0]}-{'float64' if param[1] else 'float32'}",
)
def run(request, reference_dir) -> Run:
    """Evaluates four images and trains three steps on eight."""
    name, double = request.param
    reference, arrays = load(name, double)
    seeded = reference_models.seeded(reference_dir)
    seeded_cifar = reference_models.seeded(reference_dir, "cifar/seeded_cifar.py")
    config = configuration(reference)
    with jax.enable_x64(True) if double else contextlib.nullcontext():
        dtype = jnp.float64 if double else jnp.float32
        state_dict = seeded.seeded_state_dict(reference["state_dict"])
        variables = torch_weights.convert(
            state_dict, config.model, reference["num_classes"]
        )
        variables = jax.tree.map(lambda x: jnp.asarray(x, dtype), variables)
        m = config.model.copy_and_resolve_references()
        with m.unlocked():
            m.dtype = jnp.dtype(dtype).name
        model = cifar.build(m, reference["num_classes"])

        def images_of(given):
            images = seeded_cifar.seeded_images(given["images"], given["seed"])
            return jnp.asarray(images.transpose(0, 2, 3, 1), dtype)

        evaluation = evaluate(model, variables, images_of(reference["input"]))
        training = reference["training"]
        assert config.optim.base_lr == training["learning_rate"]
        assert config.optim.momentum == training["momentum"]
        assert config.optim.weight_decay == training["weight_decay"]
        labels = seeded_cifar.seeded_labels(
            training["images"], reference["num_classes"], training["seed"]
        )
        assert labels.tolist() == training["labels"]
        logits, losses, grads, after = train(
            model,
            variables,
            images_of(training),
            jnp.asarray(labels, jnp.uint8),
            config,
            draws_of(arrays),
            steps=len(training["losses"]),
        )
        named = functools.partial(
            torch_weights.to_state_dict,
            model_config=config.model,
            family=torch_weights.find("authors_cifar"),
        )
        grads = named({"params": grads, "batch_stats": variables["batch_stats"]})
        numbers = training["float64"] if double else training
        return Run(
            reference | {"training": training | numbers},
            arrays,
            evaluation,
            np.asarray(logits),
            [float(loss) for loss in losses],
            grads,
            named(variables),
            named(after),
            double,
        )


def difference(ours, expected) -> float:
    """Returns the largest difference over the largest absolute value."""
    assert np.shape(ours) == np.shape(expected)
    return float(np.max(np.abs(ours - expected)) / np.max(np.abs(expected)))


def check(run: Run, differences: dict[str, float], allowed: float) -> None:
    """Compares each difference with what may be, 1e-9 in double precision."""
    worst = max(differences, key=differences.get)
    print(f"largest of {len(differences)}: {worst} {differences[worst]:.1e}")
    assert differences[worst] <= (DOUBLE if run.double else allowed), worst


def arrays_of(run: Run, start: str) -> dict[str, np.ndarray]:
    return {
        name.removeprefix(start): array
        for name, array in run.arrays.items()
        if name.startswith(start)
    }


def test_evaluation(run):
    expected = {"logits": run.arrays["logits"]}
    expected |= {f"inner:{n}": x for n, x in arrays_of(run, "inner:").items()}
    assert len(expected) >= 4
    check(
        run,
        {name: difference(run.evaluation[name], x) for name, x in expected.items()},
        ALLOWED["outputs"],
    )


def test_training_logits(run):
    check(
        run,
        {"train:logits": difference(run.logits, run.arrays["train:logits"])},
        ALLOWED["outputs"],
    )


def test_losses(run):
    expected = run.reference["training"]["losses"]
    assert expected
    for i, (ours, theirs) in enumerate(zip(run.losses, expected, strict=True)):
        check(run, {"loss": difference(ours, theirs)}, ALLOWED["losses"][i])


def test_gradient_norms(run):
    norms = run.reference["training"]["grad_norm"]
    parameters = [n for n in run.grads if not n.endswith(NOT_TRAINED)]
    bare = [name for name in parameters if name not in norms]
    assert sorted(bare) == sorted(run.reference["training"]["no_gradient"])
    found = {n: difference(np.linalg.norm(run.grads[n]), x) for n, x in norms.items()}
    check(run, found, ALLOWED["grad_norm"])
    check(run, {"median": np.median(list(found.values()))}, ALLOWED["grad_norm_median"])
    for name in bare:
        assert np.linalg.norm(run.grads[name]) <= (1e-12 if run.double else 1e-5), name


def test_gradients(run):
    expected = arrays_of(run, "grad:")
    assert len(expected) > 5
    check(
        run,
        {n: difference(run.grads[n][: len(x)], x) for n, x in expected.items()},
        ALLOWED["grad"],
    )


def test_arrays_after_one_step_equal_the_reference(run):
    running, weights = {}, {}
    for name, expected in arrays_of(run, "after:").items():
        group = running if ".running_" in name else weights
        group[name] = difference(run.after[name][: len(expected)], expected)
    assert len(running) == 8 and len(weights) > 5
    check(run, running, ALLOWED["running"])
    check(run, weights, ALLOWED["weights"])


def test_norms_after_one_step(run):
    training = run.reference["training"]
    for numbers, ours, allowed in (
        ("running_stat_norm_after_step", run.after, "running"),
        ("weight_norm_after_step", run.after, "weights"),
        (
            "update_norm",
            {n: x - run.before[n] for n, x in run.after.items()},
            "update_norm",
        ),
    ):
        found = {
            name: difference(np.linalg.norm(ours[name]), expected)
            for name, expected in training[numbers].items()
        }
        assert len(found) > 20
        check(run, found, ALLOWED[allowed])


@pytest.mark.parametrize(
    "name", json_of("parameter_counts.json") or reference_models.ABSENT
)
def test_parameter_counts(reference_dir, name):
    kind, _, size = name.rpartition("_")
    codes, _, width = size.removesuffix("d").rpartition("k")
    reference = {"model": kind, "width": int(width), "num_codes": int(codes or 0)}
    config = configuration(reference)
    model = tasks.of(config).build_model(10)
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params = jax.eval_shape(lambda x: model.init(jax.random.key(0), x), images)[
        "params"
    ]
    count = sum(x.size for x in jax.tree.leaves(params))
    # The authors count the smoothing factors that they draw, too.
    count += 6 * int(codes) if kind == "encnetdrop" else 0
    assert count == json_of("parameter_counts.json")[name]


def test_learning_rates(reference_dir):
    expected = json_of("schedule.json")
    config = config_lib.load("configs/cifar10.py:encnet16k64d,authors")
    assert config.train.batch_size == expected["batch_size"]
    config = config_lib.resolve(config, config_lib.Facts(50_000))
    steps = expected["iterations_of_an_epoch"]
    assert config.train.epochs == expected["last_epoch"]
    assert config.train.total_steps == steps * expected["last_epoch"]
    with jax.enable_x64(True):
        rate = optim.learning_rate(
            config.optim, total_steps=config.train.total_steps, batch_size=128
        )
        for epoch, iteration, theirs in expected["epoch_iteration_learning_rate"]:
            step = (epoch - expected["first_epoch"]) * steps + iteration
            assert float(rate(step)) == pytest.approx(theirs, rel=1e-6, abs=1e-15)
