"""What stacks of dilated convolutions see, against references and JAX's gradients."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax.models.conv import Conv
from encnet_jax.models.dilation import dilated_rates, plan_stages
from encnet_jax.report import receptive_field as gridding

REFERENCE_NAMES = {
    "plain": "resnet101 released EncNet backbone",
    "none": "resnet101 none",
    "hdc_rf": "resnet101 RF",
    "hdc_bigger": "resnet101 bigger",
    "hdc_released": "resnet101 bigger, released",
}


@pytest.fixture(scope="module")
def references(reference_dir):
    return json.loads((reference_dir / "golden/duc/gridding.json").read_text())


@pytest.mark.golden
def test_numbers_equal_the_references(references):
    assert len(references) > 15
    for name, expected in references.items():
        found = gridding.describe(expected["rates"])
        unevenness = expected["neighbour_ratio"] or np.inf
        np.testing.assert_allclose(found.unevenness, unevenness, 1e-12, err_msg=name)
        np.testing.assert_allclose(found.share, expected["share_of_the_square"], 1e-12)
        assert found.share_along_axis == expected["share_along_an_axis"], name
        assert found.receptive_field == expected["receptive_field"], name
        assert found.seen_along_axis == expected["seen_along_an_axis"], name
        assert found.widest_step == expected["widest_step"], name
        assert list(found.max_distances) == expected["M"], name
        assert found.centre_seen == expected["centre_3x3_seen"], name
        if expected["paths_along_an_axis"]:
            np.testing.assert_array_equal(found.paths, expected["paths_along_an_axis"])


@pytest.mark.golden
@pytest.mark.parametrize("dilation", REFERENCE_NAMES)
def test_named_rates_are_those_of_the_references(references, dilation):
    expected = references[REFERENCE_NAMES[dilation]]["rates"]
    assert dilated_rates(plan_stages((3, 4, 23, 3), 8, dilation)) == tuple(expected)


def test_path_counts_equal_a_calculation_by_hand():
    np.testing.assert_array_equal(gridding.path_counts([1, 2]), [1, 1, 2, 1, 2, 1, 1])
    assert gridding.max_distances([1, 2, 9]) == (3, 5, 9)
    found = gridding.describe([2, 2])
    assert (found.seen_along_axis, found.receptive_field) == (5, 9)
    assert found.unevenness == np.inf
    assert not found.centre_seen


@pytest.mark.parametrize("rates", [(1, 2, 5), (2, 2, 3)])
def test_path_counts_are_the_gradient_of_convolutions_of_ones(rates):
    side = 1 + 2 * sum(rates)

    def centre(image):
        for rate in rates:
            kernel = {"params": {"kernel": jnp.ones((3, 3, 1, 1))}}
            image = Conv(1, dilation=rate).apply(kernel, image)
        return image[0, side // 2, side // 2, 0]

    seen = jax.grad(centre)(jnp.zeros((1, side, side, 1)))[0, :, :, 0]
    paths = gridding.path_counts(rates)
    np.testing.assert_array_equal(seen, np.outer(paths, paths))
    found = gridding.describe(rates)
    np.testing.assert_allclose(np.mean(np.asarray(seen) > 0), found.share, 1e-12)
