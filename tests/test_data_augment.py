"""Random numbers and geometry of the augmentation."""

import pathlib

import numpy as np
import pytest

from encnet_jax import config as config_lib
from encnet_jax.data.augment import plan as augment
from encnet_jax.data.augment.plan import AugmentParams

BASE = pathlib.Path(__file__).parent.parent / "configs" / "default.py"


@pytest.fixture
def data():
    return config_lib.load(str(BASE)).data


def test_draws_depend_only_on_the_key(data):
    key = {"seed": 1, "epoch": 2, "index": 3}
    params = augment.draw(data.augment, **key)
    assert params == augment.draw(data.augment, **key)
    for name in key:
        assert params != augment.draw(data.augment, **(key | {name: 9}))


def test_draws_cover_their_ranges(data):
    data.augment.blur_probability = 0.5
    data.augment.update(brightness=0.4, contrast=0.3, saturation=0.2, hue=0.1)
    draws = [augment.draw(data.augment, seed=0, epoch=0, index=i) for i in range(2000)]
    drawn = np.array(draws)
    low, high = drawn.min(0), drawn.max(0)
    np.testing.assert_allclose(
        low, [0, 0.5, -10, 0, 0, 0, 0.6, 0.7, 0.8, -0.1], atol=0.05
    )
    np.testing.assert_allclose(high, [1, 2, 10, 1, 1, 1, 1.4, 1.3, 1.2, 0.1], atol=0.05)
    np.testing.assert_allclose(drawn[:, 0].mean(), 0.5, atol=0.05)
    np.testing.assert_allclose((drawn[:, 5] > 0).mean(), 0.5, atol=0.05)


@pytest.mark.parametrize(
    ("relative_to", "height", "width", "expected"),
    [
        ("image", 300, 400, (450, 600)),
        ("short_side", 300, 400, (780, 1040)),
        ("short_side", 400, 300, (1040, 780)),
        ("long_side", 300, 400, (585, 780)),
        ("long_side", 400, 300, (780, 585)),
    ],
)
def test_scaled_size(data, relative_to, height, width, expected):
    data.augment.scale_relative_to = relative_to
    params = AugmentParams(scale=1.5)
    assert augment.scaled_size(params, height, width, data.augment) == expected


def test_crops_cover_all_positions_inside_the_image(data):
    data.crop_size = 8
    corners = {
        augment.geometry(AugmentParams(u=u, v=v), 10, 7, data).corner
        for u in np.linspace(0, 0.9999, 30)
        for v in np.linspace(0, 0.9999, 30)
    }
    assert corners == {(0, 0), (1, 0), (2, 0)}


def test_scales_of_a_list(data):
    data.augment.scales = (0.5, 0.75, 1.0)
    draws = [augment.draw(data.augment, seed=0, epoch=0, index=i) for i in range(200)]
    assert {params.scale for params in draws} == {0.5, 0.75, 1.0}


def test_crops_around_centres(data):
    data.crop_size = 20
    data.augment.crop_centres, data.augment.crop_jitter = ((50, 30), (50, 60)), 8

    def corner(u, v, scale=1.0):
        params = AugmentParams(u=u, v=v, scale=scale)
        return augment.geometry(params, 100, 90, data).corner

    assert corner(0.25, 0.5) == (40, 20)
    assert corner(0.75, 0.5) == (40, 50)
    assert corner(0.75, 0.25) == (36, 50)
    # Half of the second centre's share, less a quarter of it, is half the jitter left.
    assert corner(0.625, 0.5) == (40, 46)
    assert corner(0.75, 0.5, scale=2.0) == (90, 110)
    assert corner(0.75, 0.5, scale=0.5) == (15, 20)
    # What would reach beyond the image moves inside.
    assert corner(0.0, 0.0, scale=0.25) == (0, 0)
    assert corner(0.9999, 0.5, scale=0.25) == (2, 2)


def test_matrix_equals_a_calculation_by_hand():
    params = AugmentParams(flip=1.0)
    matrix = augment.projective_matrix(params, (10, 20), (20, 40), (4, 6))
    # Crop (0, 0) is (6, 4) in the scaled, mirrored image: x = 20 - 6 / 2, y = 4 / 2.
    np.testing.assert_allclose(matrix, [[-0.5, 0, 17], [0, 0.5, 2]])


def test_rotation_turns_about_the_centre_of_the_scaled_image():
    params = AugmentParams(angle=90.0)
    matrix = augment.projective_matrix(params, (10, 20), (10, 20), (0, 0))
    np.testing.assert_allclose(matrix @ [10, 5, 1], [10, 5])
    # What appears right of the centre came from below it: counter-clockwise.
    np.testing.assert_allclose(matrix @ [14, 5, 1], [10, 9])


def test_input_scale_applies_to_the_image_and_the_mask_stays_native(data):
    data.input_scale, data.crop_size = 0.5, 8
    plan = augment.geometry(AugmentParams(), 16, 16, data)
    assert plan.resized == (8, 8)
    np.testing.assert_allclose(plan.image_matrix, [[1, 0, 0], [0, 1, 0]])
    np.testing.assert_allclose(plan.label_matrix, [[2, 0, 0], [0, 2, 0]])
