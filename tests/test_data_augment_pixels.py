"""Augmented pixels."""

import pathlib

import cv2
import numpy as np
import pytest
from PIL import Image

from encnet_jax import config as config_lib
from encnet_jax.data.augment import plan as augment
from encnet_jax.data.augment.apply import augment_example, change_colours, warp
from encnet_jax.data.augment.plan import AugmentParams

BASE = pathlib.Path(__file__).parent.parent / "configs" / "default.py"


@pytest.fixture
def data():
    return config_lib.load(str(BASE)).data


RECIPES = pytest.mark.parametrize("recipe", ["paper", "release", "release_rotated"])


def set_recipe(data, recipe):
    data.crop_size = 64
    if recipe != "paper":
        data.augment.antialias = True
        data.augment.scale_relative_to = "short_side"
        data.augment.base_size = 70
        data.augment.rotate_degrees = 10.0 if recipe == "release_rotated" else 0.0


def pictures(height, width):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 6, width // 6, 3), np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    label = rng.integers(0, 5, (height // 9, width // 9), np.uint8)
    label = Image.fromarray(label).resize((width, height), Image.Resampling.NEAREST)
    return np.asarray(image), np.asarray(label)


@pytest.mark.parametrize("antialias", [False, True])
def test_identity_and_padding_are_exact(data, antialias):
    image, label = pictures(64, 48)
    data.crop_size, data.augment.antialias = 64, antialias
    data.augment.rotate_degrees = 0.0
    new_image, new_label = augment_example(image, label, AugmentParams(), data)
    np.testing.assert_array_equal(new_image[:, :48], image)
    np.testing.assert_array_equal(new_label[:, :48], label)
    assert (new_image[:, 48:] == 0).all() and (new_label[:, 48:] == 255).all()


@pytest.mark.parametrize("antialias", [False, True])
def test_flip_and_crop_are_exact(data, antialias):
    image, label = pictures(64, 80)
    data.crop_size, data.augment.antialias = 32, antialias
    data.augment.rotate_degrees = 0.0
    params = AugmentParams(flip=1.0, u=0.5, v=0.25)
    new_image, new_label = augment_example(image, label, params, data)
    top, left = augment.geometry(params, 64, 80, data).corner
    assert (top, left) == (8, 24)
    window = np.s_[top : top + 32, left : left + 32]
    np.testing.assert_array_equal(new_image, image[:, ::-1][window])
    np.testing.assert_array_equal(new_label, label[:, ::-1][window])


def test_a_quarter_turn_is_exact(data):
    image, label = pictures(64, 64)
    data.crop_size = 64
    new_image, new_label = augment_example(
        image, label, AugmentParams(angle=90.0), data
    )
    # Pillow cuts fractions off, and sin(90 degrees) is not quite 1.
    np.testing.assert_allclose(new_image, np.rot90(image).astype(int), atol=1)
    np.testing.assert_array_equal(new_label, np.rot90(label))


@RECIPES
def test_image_and_mask_move_together(data, recipe):
    set_recipe(data, recipe)
    _, label = pictures(90, 120)
    label = (label[:45, :60] > 2).astype(np.uint8).repeat(2, 0).repeat(2, 1)
    image = np.repeat(label[..., None] * 200, 3, axis=2)
    for index in range(4):
        params = augment.draw(data.augment, seed=0, epoch=0, index=index)
        new_image, new_label = augment_example(image, label, params, data)
        agree = (new_image[..., 0] > 100) == (new_label == 1)
        assert agree[new_label != 255].mean() > 0.96  # All but pixels on the edges.


def found_by_loops(pixels, matrix, size, fill):
    """f64[size, size]: bilinear values and nearest ones, a pixel at a time."""
    height, width = pixels.shape
    padded = np.pad(pixels.astype(float), 1, constant_values=fill)
    linear, nearest = np.full((2, size, size), float(fill))
    for row, column in np.ndindex(size, size):
        x, y = matrix @ [column + 0.5, row + 0.5, 1.0] - 0.5
        left, top = int(np.floor(x)), int(np.floor(y))
        if -1 <= left < width and -1 <= top < height:
            four = padded[top + 1 : top + 3, left + 1 : left + 3]
            across, down = x - left, y - top
            linear[row, column] = [1 - down, down] @ four @ [1 - across, across]
            nearest[row, column] = four[int(down >= 0.5), int(across >= 0.5)]
    return linear, nearest


def test_pixels_are_found_where_the_matrix_points():
    rng = np.random.default_rng(0)
    for index in range(6):
        pixels = rng.integers(0, 200, rng.integers(20, 60, 2), np.uint8)
        params = AugmentParams(flip=float(index % 2), angle=rng.uniform(-30, 30))
        scaled = tuple(rng.integers(20, 90, 2))
        corner = tuple(rng.integers(-5, 20, 2))
        matrix = augment.projective_matrix(params, pixels.shape, scaled, corner)
        linear, nearest = found_by_loops(pixels, matrix, 48, 255)
        found = warp(pixels, matrix, 48, cv2.INTER_LINEAR, 255)
        # Positions are float32 and values are rounded.
        assert np.abs(found - linear).max() < 0.52
        found = warp(pixels, matrix, 48, cv2.INTER_NEAREST, 255)
        assert np.mean(found == nearest) > 0.998  # Halfway positions go either way.
        assert np.mean(found == 255) < 0.9


def test_antialiased_resize_is_pillows(data):
    set_recipe(data, "release")
    image, label = pictures(150, 150)
    params = AugmentParams(scale=64 / 70)
    new_image, _ = augment_example(image, label, params, data)
    wanted = Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(new_image, wanted)


def test_a_window_of_the_resized_image_is_pillows(data):
    set_recipe(data, "release")
    data.crop_size = 40
    image, label = pictures(150, 90)
    params = AugmentParams(flip=1.0, scale=1.1, u=0.7, v=0.3)
    new_image, _ = augment_example(image, label, params, data)
    plan = augment.geometry(params, 150, 90, data)
    mirrored = Image.fromarray(image[:, ::-1])
    whole = mirrored.resize(plan.resized[::-1], Image.Resampling.BILINEAR)
    top, left = plan.corner
    wanted = np.asarray(whole)[top : top + 40, left : left + 40]
    np.testing.assert_allclose(new_image.astype(int), wanted, atol=1)
    assert (new_image != wanted).mean() < 0.3  # Pillow's windows have float32 edges.


def test_labels_are_never_blended(data):
    set_recipe(data, "paper")
    image, label = pictures(90, 120)
    label = np.where(label > 2, 7, 1).astype(np.uint8)
    for index in range(4):
        params = augment.draw(data.augment, seed=2, epoch=0, index=index)
        assert set(np.unique(augment_example(image, label, params, data)[1])) <= {
            1,
            7,
            255,
        }


@RECIPES
def test_colour_changes_leave_the_mask_unchanged(data, recipe):
    set_recipe(data, recipe)
    data.augment.update(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    image, label = pictures(60, 80)
    for index in range(3):
        params = augment.draw(data.augment, seed=1, epoch=0, index=index)
        new_image, new_label = augment_example(image, label, params, data)
        plain = augment_example(image, label, params._replace(**PLAIN), data)
        np.testing.assert_array_equal(plain[1], new_label)
        labelled = new_label != 255
        assert np.abs(plain[0].astype(int) - new_image)[labelled].mean() > 4
        # Padding stays black; along its border the image fades into it.
        assert np.sum(new_image[~labelled] == 0) >= 0.9 * 3 * np.sum(~labelled)


PLAIN = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}
RED_AND_GREY = np.array([[[200, 40, 40], [90, 90, 90]]], np.uint8)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"brightness": 0.5}, [[100, 20, 20], [45, 45, 45]]),
        # Luma 87.8 and 90: their mean, 88.9, is where contrast pulls to.
        ({"contrast": 0.5}, [[144, 64, 64], [89, 89, 89]]),
        ({"saturation": 0.0}, [[88, 88, 88], [90, 90, 90]]),
        ({"brightness": 2.0}, [[255, 80, 80], [180, 180, 180]]),
    ],
)
def test_colours_equal_a_calculation_by_hand(fields, expected):
    found = change_colours(RED_AND_GREY, AugmentParams(**fields))[0]
    np.testing.assert_allclose(found, expected, atol=1)


def test_hue_keeps_grey_and_luma():
    found = change_colours(RED_AND_GREY, AugmentParams(hue=0.1))[0].astype(float)
    luma = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(found[1], 90, atol=1)
    np.testing.assert_allclose(found[0] @ luma, 87.8, atol=1)
    assert abs(found[0] - [200, 40, 40]).max() > 20


def test_no_colour_change_returns_the_same_array():
    assert change_colours(RED_AND_GREY, AugmentParams(flip=1.0)) is RED_AND_GREY
