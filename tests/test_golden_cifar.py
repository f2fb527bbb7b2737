"""The authors' CIFAR-10 networks: every cifar_*.json of the reference data."""

import contextlib
import functools
import json
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import pytest
import reference_models

from encnet_jax import config as config_lib
from encnet_jax import tasks, torch_weights
from encnet_jax.models import cifar
from encnet_jax.models.encoding import Encoding
from encnet_jax.tasks import classification
from encnet_jax.train import optim

pytestmark = pytest.mark.golden

FOLDER = reference_models.FOLDER / "golden" / "cifar"
NAMES = sorted(path.stem for path in FOLDER.glob("cifar_*.json"))
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
# Optimising the machine code takes longer than running it.
QUICK = {"xla_backend_optimization_level": 0}
NOT_TRAINED = ("running_mean", "running_var", "num_batches_tracked")
# Names of our modules for the places that the reference looks at.
OUTPUT_OF = {
    "model.3": "stage1_block02",
    "model.5": "stage3_block02",
    "model.5.1.se.fc.7": "stage3_block02/scaling",
}
INPUT_OF = {
    "model.3.0.se.fc.5": "stage1_block01/scaling/attention",
    "model.8": "classifier",
}


def json_of(name: str) -> dict:
    """Returns what a file beside the references holds, nothing where there is none."""
    path = FOLDER / name
    return json.loads(path.read_text()) if path.is_file() else {}


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


def load(name: str, double: bool) -> tuple[dict, dict]:
    """Returns (.json, arrays), these in double precision where wanted."""
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = dict(file)
    if double:
        with np.load(FOLDER / f"{name}.float64.npz") as file:
            assert file.files and set(file.files) <= set(arrays)
            arrays |= dict(file)
    return json.loads((FOLDER / f"{name}.json").read_text()), arrays


def configuration(reference: dict) -> ml_collections.ConfigDict:
    """Returns the authors' recipe for a reference's network."""
    config = config_lib.load("configs/cifar10.py:encnet16k64d,authors")
    config.model.name = reference["model"].removesuffix("drop")
    config.model.draw_smoothing = reference["model"] == "encnetdrop"
    config.model.width = reference["width"]
    config.model.num_codes = reference.get("num_codes") or 0
    return ml_collections.ConfigDict(config_lib.resolve(config))


def evaluate(model, variables, images) -> dict[str, np.ndarray]:
    """Returns logits and inner values under the reference's names and cuts."""
    seen = {}

    def look(next_function, args, kwargs, context):
        result = next_function(*args, **kwargs)
        if context.method_name == "__call__":
            path = "/".join(context.module.path)
            seen[path] = (args[0], result)
        return result

    @functools.partial(jax.jit, compiler_options=QUICK)
    def forward(variables, images):
        with nn.intercept_methods(look):
            outputs = model.apply(variables, images)
        found = {f"inner:{n}": seen[p][1] for n, p in OUTPUT_OF.items() if p in seen}
        found |= {f"inner:{n}": seen[p][0] for n, p in INPUT_OF.items() if p in seen}
        return found | {"logits": outputs["logits"]}

    found = jax.tree.map(np.asarray, forward(variables, images))
    found["inner:model.3"] = found["inner:model.3"][:, ::4, ::4, ::8]
    found["inner:model.5"] = found["inner:model.5"][:, ::2, ::2, ::16]
    return {n: np.moveaxis(x, -1, 1) if x.ndim == 4 else x for n, x in found.items()}


def draws_of(arrays: dict) -> dict[tuple, tuple]:
    """Returns {path of our Encoding: (first, second draw of their `scale`)}."""
    draws = {}
    for stage in (1, 2, 3):
        for block in (1, 2):
            name = f"draw:model.{stage + 2}.{block - 1}.se.fc.3.scale"
            if f"{name}:forward" in arrays:
                path = (f"stage{stage}_block{block:02d}", "scaling", "encoding")
                draws[path] = tuple(
                    arrays[f"{name}:{x}"] for x in ("forward", "backward")
                )
    return draws


def encode_drawn_twice(features, codewords, first, second):
    """Sums residuals as the first draw of `scale` assigns them.

    The backward pass of the scaled distances takes the second draw, at the softmax of
    the first, as the authors' code does, which draws again before it.

    Args:
        features: [B, H, W, D].
        codewords: [K, D].
        first, second: [K], negative.
    """
    features = features.reshape(len(features), -1, features.shape[-1])
    residuals = features[:, :, None] - codewords
    sq_distance = jnp.sum(residuals**2, axis=-1)
    held = jax.lax.stop_gradient(sq_distance)
    scaled = first * held + second * (sq_distance - held)
    assignment = jax.nn.softmax(scaled, axis=-1)
    return jnp.sum(assignment[..., None] * residuals, axis=1)


def train(model, variables, images, labels, config, draws, steps: int):
    """Returns (first logits, losses before each step, first gradients, variables).

    The variables are those after the first step. The last loss needs no step.
    """

    def draw_twice(next_function, args, kwargs, context):
        if isinstance(context.module, Encoding) and context.method_name == "__call__":
            codewords = context.module.get_variable("params", "codewords")
            return encode_drawn_twice(args[0], codewords, *draws[context.module.path])
        return next_function(*args, **kwargs)

    def loss_fn(params, batch_stats):
        with nn.intercept_methods(draw_twice) if draws else contextlib.nullcontext():
            outputs, updates = model.apply(
                {"params": params, "batch_stats": batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
            )
        loss, _ = classification.classification_loss(outputs, labels)
        return loss, (outputs["logits"], updates["batch_stats"])

    differentiate = jax.value_and_grad(loss_fn, has_aux=True)
    differentiate = jax.jit(differentiate, compiler_options=QUICK)
    params, batch_stats = variables["params"], variables["batch_stats"]
    # The rate is constant: so long a schedule does not fall in three steps.
    config.optim.cosine_ahead = 0.0
    tx = optim.optimizer(config.optim, params, total_steps=10**12, batch_size=128)
    opt_state = tx.init(params)
    losses, kept = [], None
    for _ in range(steps):
        (loss, (logits, batch_stats)), grads = differentiate(params, batch_stats)
        losses.append(loss)
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        after = {"params": params, "batch_stats": batch_stats}
        kept = kept or (logits, grads, after)
    logits, grads, after = kept
    return logits, losses, grads, after


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


def test_after_one_step(run):
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
    model = tasks.of(config).build_model(config, 10, None)
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
    config = config_lib.resolve(config, 50_000)
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
