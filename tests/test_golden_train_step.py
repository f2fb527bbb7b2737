"""One training step against the authors' PyTorch code, given the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_models

from encnet_jax import losses, models, torch_weights
from encnet_jax.labels import IGNORE_LABEL

pytestmark = pytest.mark.golden

LOSSES = {
    "seg_loss": "loss_pixel",
    "se_loss": "loss_se",
    "aux_loss": "loss_aux",
}
# Whole gradients: name in the .npz -> name in the state dict, rows kept, and the error
# allowed, of the norm. Pixels changed by one unit in the last place move the stem's
# gradient by 3 %, because ReLUs of fifty layers flip.
GRADIENTS = {
    "codewords_grad": ("head.encmodule.encoding.3.codewords", None, 1e-3),
    "scale_grad": ("head.encmodule.encoding.3.scale", None, 1e-3),
    "conv6_bias_grad": ("head.conv6.1.bias", None, 1e-3),
    "stem_grad": ("pretrained.conv1.0.weight", None, 6e-2),
    "fc_weight_grad": ("head.encmodule.fc.0.weight", 64, 1e-3),
}


@pytest.fixture(scope="module")
def step(reference_dir):
    """Runs the step; returns (reference, its arrays, ours in PyTorch's names)."""
    reference, arrays = reference_models.load(
        reference_dir, "train_step_encnet_resnet50s"
    )
    seeded = reference_models.seeded(reference_dir)
    m = reference_models.release_model(reference, dropout=reference["dropout"])
    num_classes, size = reference["num_classes"], reference["input"]
    variables = torch_weights.convert(
        seeded.seeded_state_dict(reference["state_dict"]), m, num_classes
    )
    images, labels = seeded.seeded_training_batch(
        size["height"], size["width"], num_classes, size["seed"]
    )
    labels = np.where(labels < 0, IGNORE_LABEL, labels).astype(np.uint8)
    model = models.build(m, num_classes)

    def loss_fn(params, batch_stats, images, labels):
        outputs, mutated = model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            mutable=["batch_stats"],
        )
        loss, terms = losses.segmentation_loss(
            outputs,
            labels,
            se_weight=reference["se_weight"],
            aux_weight=reference["aux_weight"],
        )
        return loss, ({"loss": loss, **terms}, mutated["batch_stats"])

    # Optimising the machine code takes longer than running it once.
    step_fn = jax.jit(
        jax.grad(loss_fn, has_aux=True),
        compiler_options={"xla_backend_optimization_level": 0},
    )
    grads, (terms, batch_stats) = step_fn(
        variables["params"],
        variables["batch_stats"],
        jnp.asarray(images.transpose(0, 2, 3, 1)),
        jnp.asarray(labels),
    )
    ours = torch_weights.to_state_dict(
        {"params": grads, "batch_stats": batch_stats}, m, torch_weights.find("authors")
    )
    return reference, arrays, terms, ours


def test_losses(step):
    reference, _, terms, _ = step
    for theirs, name in {**LOSSES, "loss": "loss"}.items():
        np.testing.assert_allclose(
            terms[name], reference["losses"][theirs], rtol=1e-4, err_msg=theirs
        )


def test_gradient_norms(step):
    reference, _, _, ours = step
    errors = []
    for name, norm in reference["grad_norm"].items():
        errors.append(abs(np.linalg.norm(ours[name]) - norm) / norm)
        assert errors[-1] <= 0.02, (name, errors[-1])
    print(f"gradient norms: median {np.median(errors):.1e}, largest {max(errors):.1e}")
    assert np.median(errors) <= 0.002


@pytest.mark.parametrize("name", GRADIENTS)
def test_whole_gradients(step, name):
    _, arrays, _, ours = step
    entry, rows, tolerance = GRADIENTS[name]
    expected = arrays[name]
    error = np.linalg.norm(ours[entry][:rows] - expected) / np.linalg.norm(expected)
    print(f"{name}: {error:.1e}")
    assert error <= tolerance


def test_running_statistics(step):
    reference, _, _, ours = step
    errors = [
        abs(np.linalg.norm(ours[name]) - norm) / norm
        for name, norm in reference["running_stat_norm_after_step"].items()
    ]
    print(f"running statistics: largest {max(errors):.1e}")
    assert len(errors) > 100
    assert max(errors) <= 2e-4
