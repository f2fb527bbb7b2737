"""An untrained network predicts all classes equally."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_models

from encnet_jax import losses, models

IMAGES, SIDE = 4, 32
RELEASED = ("encnet", "fcn", "pspnet", "deeplabv3")  # Heads of the authors' code.


@pytest.mark.parametrize("num_classes", [11, 150])
@pytest.mark.parametrize(
    ("architecture", "name"),
    [("paper", "encnet"), *(("release", name) for name in RELEASED)],
)
def test_first_pixel_losses_are_those_of_random_predictions(
    architecture, name, num_classes
):
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.normal(size=(IMAGES, SIDE, SIDE, 3)), jnp.float32)
    labels = rng.integers(0, num_classes, (IMAGES, SIDE, SIDE)).astype(np.uint8)
    m = reference_models.model_config(
        architecture, name=name, backbone="tiny", stem_width=8, dropout=0.0
    )
    # Optimising the machine code takes longer than running it once.
    outputs, _ = jax.jit(
        lambda key: models.build(m, num_classes).init_with_output(key, images, True),
        compiler_options={"xla_backend_optimization_level": 0},
    )(jax.random.key(0))
    _, terms = losses.segmentation_loss(
        outputs, jnp.asarray(labels), se_weight=1, aux_weight=1, row_blocks=1
    )
    pixel_losses = {"loss_pixel", "loss_aux"} & terms.keys()
    assert len(pixel_losses) == (2 if architecture == "release" else 1)
    for term in pixel_losses:
        assert terms[term] == pytest.approx(np.log(num_classes), rel=0.1), term
