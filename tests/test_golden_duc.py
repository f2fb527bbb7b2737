"""DUC-HDC networks against outputs of the authors' MXNet code, given their weights.

Every network in golden/duc is taken, and of each whatever its files hold.
"""

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference_duc
import reference_models

from configs import default
from encnet_jax import cli, losses, models, torch_weights
from encnet_jax import config as config_lib
from encnet_jax.checkpoints import read
from encnet_jax.config import table
from encnet_jax.data.sets import named_info
from encnet_jax.fields import Allowed
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.models.heads.duc import depth_to_space
from encnet_jax.models.resize import resize_bilinear
from encnet_jax.torch_weights import __main__ as command
from encnet_jax.torch_weights.mxnet import read_params
from encnet_jax.train import optim

pytestmark = pytest.mark.golden

NETWORKS = reference_duc.networks()
TOLERANCE = 5e-6  # Of the largest reference value; two evaluations differ by 7e-7.
LABELS = ("inside", "over_the_corner", "cell1", "scaled")


def each(paths: list):
    """Parametrises by files; where there are none, reference_dir skips or fails."""
    return {"params": paths or [None], "ids": [p.stem for p in paths] or ["absent"]}


@contextlib.contextmanager
def opened(path):
    """Yields (a reference, our `config.model`, our variables)."""
    assert path, "golden/duc holds nothing of this kind"
    reference = reference_duc.load(path)
    with pytest.MonkeyPatch.context() as patch:
        reference_models.add_resnet(patch, reference.name, reference.backbone())
        m = reference.model_config()
        checkpoint = reference.checkpoint()
        yield reference, m, torch_weights.convert(checkpoint, m, reference.num_classes)


@pytest.fixture(scope="module", **each(NETWORKS))
def network(request, reference_dir):
    """See opened."""
    with opened(request.param) as found:
        yield found


def error(ours, theirs) -> float:
    """Returns the largest difference, of the largest reference value."""
    assert ours.shape == theirs.shape
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


def test_outputs(network):
    reference, m, variables = network
    image = reference.image()
    model = models.build(m, reference.num_classes)
    outputs, captured = jax.jit(
        lambda v, x: model.apply(
            v,
            x,
            capture_intermediates=reference_duc.is_inner,
            mutable=["intermediates"],
        )
    )(variables, image)
    logits = outputs["logits"]
    errors = {"raw": error(logits, reference.placed(reference.arrays["raw"]))}
    for name, theirs in reference.arrays.items():
        if name.startswith("inner:"):
            inner = captured["intermediates"]["backbone"]
            ours = reference_duc.inner_value(inner, name.removeprefix("inner:"))
            ours = jnp.moveaxis(ours, -1, 1)
            errors[name] = error(ours[:, :: ours.shape[1] // theirs.shape[1]], theirs)

    # Their predictor upsamples probabilities, not logits.
    height, width = reference.json["input"]["height"], reference.json["input"]["width"]
    full = resize_bilinear(
        jax.nn.softmax(logits), *image.shape[1:3], align_corners=m.align_corners
    )[0, :height, :width]
    scores = reference.arrays["scores"].transpose(1, 2, 0)
    every = -(-height // scores.shape[0])
    errors["scores"] = error(full[::every, ::every], scores)
    print(reference.name, {name: f"{e:.1e}" for name, e in errors.items()})
    for name, found in errors.items():
        assert found <= TOLERANCE, name
    same = np.argmax(np.asarray(full), axis=-1) == reference.arrays["label_map"]
    assert np.mean(same) >= 0.999


@pytest.fixture(**each([p for p in NETWORKS if p.with_suffix(".params").exists()]))
def params_file(request, reference_dir):
    """Yields what `opened` does, and the path of the checkpoint."""
    with opened(request.param) as found:
        yield *found, request.param.with_suffix(".params")


def test_params_file(params_file):
    """Every name and value, and the variables that come of them."""
    reference, m, variables, path = params_file
    found, expected = read_params(path), reference.checkpoint()
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)
    read = torch_weights.read_state_dict(path)
    converted = torch_weights.convert(read, m, reference.num_classes)
    jax.tree.map(np.testing.assert_array_equal, converted, variables)


def test_training_starts_from_the_authors_checkpoint(params_file):
    reference, m, variables, path = params_file
    zeros = jax.tree.map(np.zeros_like, variables)
    started, lines = torch_weights.initialise(zeros, path, m)
    jax.tree.map(np.testing.assert_array_equal, started, variables)
    count = len(jax.tree.leaves(variables["params"]["head"]))
    assert lines[2:] == [f"head: loaded {count} of {count} arrays"]


IMPORT_CONFIG = """
from encnet_jax.config import defaults

def get_config(arguments=""):
    config = defaults.get_config()
    config.architecture = "duc_released"
    config.data.name = "folder"
    config.data.folder.images = config.data.folder.masks = "{{split}}"
    config.data.folder.class_names = {classes}
    config.model.name = "duc"
    config.model.update({fields})
    return config
"""


def test_import_writes_a_checkpoint(params_file, tmp_path, monkeypatch, capsys):
    """The command line, with the reference's backbone among those that are known."""
    reference, m, variables, path = params_file
    names = (reference.name, "resnet50")
    allowed, known = Allowed("these", lambda name: name in names), table.fields()
    field = dataclasses.replace(known["model.backbone"], allowed=allowed)
    monkeypatch.setattr(table, "fields", lambda: known | {"model.backbone": field})
    fields = {name: m[name] for name in ("backbone", "stem_width", "dilation")}
    fields["duc"] = dataclasses.asdict(m.duc)
    classes = tuple(f"class{i}" for i in range(reference.num_classes))
    config, workdir = tmp_path / "config.py", tmp_path / "run"
    config.write_text(IMPORT_CONFIG.format(classes=classes, fields=fields))

    def run_import(source):
        arguments = {"source": source, "config": config, "workdir": workdir}
        flags = [f"--{name}={value}" for name, value in arguments.items()]
        status = cli.run(command.main, ["torch_weights", "import", *flags])
        return status, capsys.readouterr()

    broken = tmp_path / "broken.params"
    broken.write_bytes(path.read_bytes()[:-1000])
    status, output = run_import(broken)
    message = "broken.params is not a readable .params file: the file is truncated"
    assert status == 2 and message in output.err
    assert f"truncated after {broken.stat().st_size} bytes" in output.err
    assert len(output.err.splitlines()) == 1 and not workdir.exists()

    status, output = run_import(path)
    assert status == 0 and "a DUC-HDC network of its authors' MXNet code" in output.out
    restored, _ = read.restore_variables(workdir)
    jax.tree.map(np.testing.assert_array_equal, restored, variables)


def test_number_of_parameters(network):
    reference, _, variables = network
    ours = sum(x.size for x in jax.tree.leaves(variables["params"]))
    shapes = reference.json["checkpoint"]
    assert ours == sum(
        np.prod(shape) for name, shape in shapes.items() if name.startswith("arg:")
    )
    if reference.name == "duc_hdc_resnet101":
        assert ours == 65_038_464  # As published for the released checkpoint.


@pytest.fixture(scope="module", **each(reference_duc.networks("training")))
def training(request, reference_dir):
    """Runs the reference's steps: (reference, losses, accuracies, grads, weights)."""
    with opened(request.param) as found:
        return run_steps(*found)


def run_steps(reference, m, variables):
    """See training; the gradients are the first step's, by the reference's names."""
    settings = reference.json["training"]
    tx = optimizer(settings, variables["params"])
    model = models.build(m, reference.num_classes)
    labels = jnp.asarray(reference.arrays["labels"])[None]

    @jax.jit
    def step(params, opt_state):
        def loss_fn(params):
            outputs, mutated = model.apply(
                {**variables, "params": params},
                reference.image(),
                train=True,
                mutable=["batch_stats"],
            )
            loss, _ = losses.segmentation_loss(
                outputs, labels, se_weight=0.0, aux_weight=0.0, thin_labels=True
            )
            return loss, (outputs["logits"], mutated["batch_stats"])

        (loss, aux), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state, loss, grads, aux

    params, opt_state = variables["params"], tx.init(variables["params"])
    values, accuracies, first = [], [], None
    for _ in range(settings["steps"]):
        params, opt_state, loss, grads, (logits, statistics) = step(params, opt_state)
        jax.tree.map(
            np.testing.assert_array_equal, statistics, variables["batch_stats"]
        )
        first = grads if first is None else first
        thin = losses.thinned_labels(labels, logits)
        thin = np.asarray(thin)
        right = (np.argmax(np.asarray(logits), -1) == thin)[thin != IGNORE_LABEL]
        values.append(float(loss))
        accuracies.append(np.mean(right))

    def as_theirs(params):
        family = torch_weights.find("duc")
        return torch_weights.to_state_dict({**variables, "params": params}, m, family)

    return reference, values, accuracies, as_theirs(first), as_theirs(params)


def optimizer(settings: dict, params):
    """Returns the optimiser of architecture 'duc_released' at a constant rate."""
    config = default.get_config()
    config.architecture = "duc_released"
    config.optim.schedule, config.optim.halving_parts = "halving", 1
    config.optim.base_lr = settings["lr"]
    config.optim.momentum = settings["momentum"]
    config.optim.weight_decay = settings["weight_decay"]
    resolved = config_lib.resolve(config).optim
    assert resolved.clip_element == settings["clip_gradient"]
    tx, _ = optim.optimizer(resolved, params, total_steps=100, batch_size=1)
    return tx


def test_losses(training):
    reference, values, accuracies, _, _ = training
    np.testing.assert_allclose(values, reference.arrays["losses"], atol=1e-5)
    np.testing.assert_allclose(accuracies, reference.arrays["accuracies"], atol=1e-3)


def test_gradients(training):
    reference, _, _, grads, _ = training
    whole = {n: x for n, x in reference.arrays.items() if n.startswith("grad:")}
    assert whole
    for name, theirs in whole.items():
        found = error(grads[f"arg:{name.removeprefix('grad:')}"], theirs)
        print(f"{reference.name} {name}: {found:.1e}")
        assert found <= TOLERANCE, name
    for name, norm in reference.json["gradient_norms"].items():
        ours = np.linalg.norm(grads[f"arg:{name}"])
        np.testing.assert_allclose(ours, norm, rtol=1e-5, err_msg=name)


def test_weights_after_the_steps(training):
    reference, _, _, _, weights = training
    after = {n: x for n, x in reference.arrays.items() if n.startswith("after:")}
    assert after
    for name, theirs in after.items():
        ours = weights[name.removeprefix("after:")]
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("case", LABELS)
def test_thinned_labels_equal_those_of_the_authors_loader(reference_dir, case):
    with np.load(reference_dir / "golden/duc/duc_labels.npz") as arrays:
        theirs = {
            name.removeprefix(f"{case}:"): arrays[name]
            for name in arrays
            if name.startswith(f"{case}:")
        }
    crop, row, column, cell, percent = theirs["geometry"]
    labels = named_info("cityscapes").id_map[theirs["source_ids"]]
    # OpenCV's nearest neighbour: the pixel at the scaled position, rounded down.
    rows, columns = (
        np.arange(n * percent // 100) * 100 // percent for n in labels.shape
    )
    labels = labels[rows][:, columns]
    padded = np.pad(labels, crop, constant_values=IGNORE_LABEL)
    top, left = (c * percent // 100 - crop // 2 + crop for c in (row, column))
    cut = padded[top : top + crop, left : left + crop][None]

    block, side = 8 // cell, crop // 8
    thin = losses.thinned_labels(cut, np.empty((1, crop // cell, crop // cell, 1)))
    arranged = theirs["arranged_label"].reshape(1, block * block, side, side)
    placed = depth_to_space(jnp.asarray(arranged.transpose(0, 2, 3, 1)), block)
    np.testing.assert_array_equal(placed[..., 0], thin)
