"""The networks against outputs of the authors' PyTorch code, given the same weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_models

from encnet_jax import models, torch_weights
from encnet_jax.models.resize import resize_bilinear

pytestmark = pytest.mark.golden

# Of the largest absolute reference value; two float32 evaluations differ by as much.
TOLERANCE = 2e-4


@pytest.mark.parametrize("name", reference_models.names("state_dict", without="losses"))
def test_outputs_equal_the_reference(reference_dir, name):
    reference, expected = reference_models.load(reference_dir, name)
    seeded = reference_models.seeded(reference_dir)
    m = reference_models.release_model(reference)
    num_classes, size = reference["num_classes"], reference["input"]
    state_dict = seeded.seeded_state_dict(reference["state_dict"])
    variables = torch_weights.convert(state_dict, m, num_classes)
    image = seeded.seeded_image(**size).transpose(0, 2, 3, 1)

    @jax.jit
    def forward(variables, image):
        outputs = models.build(m, num_classes).apply(variables, image)
        for key in [key for key, x in outputs.items() if x.ndim == 4]:
            full = resize_bilinear(outputs[key], size["height"], size["width"])
            outputs[key] = full[:, ::4, ::4]
        return outputs

    outputs = forward(variables, jnp.asarray(image))
    assert outputs.keys() == expected.keys()
    for key, value in expected.items():
        ours = np.moveaxis(np.asarray(outputs[key][0]), -1, 0)
        assert ours.shape == value.shape
        error = np.abs(ours - value).max() / np.abs(value).max()
        print(f"{name} {key}: {error:.1e}")
        assert error <= TOLERANCE, key
    ours = np.argmax(np.asarray(outputs["logits"][0]), axis=-1)
    assert np.mean(ours == np.argmax(expected["logits"], axis=0)) >= 0.999
