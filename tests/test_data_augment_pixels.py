"""Augmented pixels, by TensorFlow and by Pillow."""

import pathlib

import numpy as np
import pytest
from PIL import Image, ImageFilter

from encnet_jax import config as config_lib
from encnet_jax.data.augment import pillow as augment_pillow
from encnet_jax.data.augment import plan as augment
from encnet_jax.data.augment import tensorflow as augment_tensorflow
from encnet_jax.data.augment.pillow import change_colours
from encnet_jax.data.augment.plan import AugmentParams
from encnet_jax.data.sources.tensorflow_import import tensorflow

BASE = pathlib.Path(__file__).parent.parent / "configs" / "default.py"


@pytest.fixture
def data():
    return config_lib.load(str(BASE)).data


def by_tensorflow(image, label, params, data):
    tf = tensorflow()
    results = augment_tensorflow.augment_example(
        tf.constant(image),
        tf.constant(label[..., None]),
        tf.constant(params, tf.float64),
        data,
    )
    return [result.numpy() for result in results]


def by_pillow(image, label, params, data):
    return augment_pillow.augment_example(image, label, params, data)


BOTH = pytest.mark.parametrize("run", [by_tensorflow, by_pillow])
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


@BOTH
@pytest.mark.parametrize("antialias", [False, True])
def test_identity_and_padding_are_exact(data, run, antialias):
    image, label = pictures(64, 48)
    data.crop_size, data.augment.antialias = 64, antialias
    data.augment.rotate_degrees = 0.0
    new_image, new_label = run(image, label, AugmentParams(), data)
    np.testing.assert_array_equal(new_image[:, :48], image)
    np.testing.assert_array_equal(new_label[:, :48], label)
    assert (new_image[:, 48:] == 0).all() and (new_label[:, 48:] == 255).all()


@BOTH
@pytest.mark.parametrize("antialias", [False, True])
def test_flip_and_crop_are_exact(data, run, antialias):
    image, label = pictures(64, 80)
    data.crop_size, data.augment.antialias = 32, antialias
    data.augment.rotate_degrees = 0.0
    params = AugmentParams(flip=1.0, u=0.5, v=0.25)
    new_image, new_label = run(image, label, params, data)
    top, left = augment.geometry(params, 64, 80, data).corner
    assert (top, left) == (8, 24)
    window = np.s_[top : top + 32, left : left + 32]
    np.testing.assert_array_equal(new_image, image[:, ::-1][window])
    np.testing.assert_array_equal(new_label, label[:, ::-1][window])


@BOTH
def test_a_quarter_turn_is_exact(data, run):
    image, label = pictures(64, 64)
    data.crop_size = 64
    new_image, new_label = run(image, label, AugmentParams(angle=90.0), data)
    # Pillow cuts fractions off, and sin(90 degrees) is not quite 1.
    np.testing.assert_allclose(new_image, np.rot90(image).astype(int), atol=1)
    np.testing.assert_array_equal(new_label, np.rot90(label))


@BOTH
@RECIPES
def test_image_and_mask_move_together(data, run, recipe):
    set_recipe(data, recipe)
    _, label = pictures(90, 120)
    label = (label[:45, :60] > 2).astype(np.uint8).repeat(2, 0).repeat(2, 1)
    image = np.repeat(label[..., None] * 200, 3, axis=2)
    for index in range(4):
        params = augment.draw(data.augment, seed=0, epoch=0, index=index)
        new_image, new_label = run(image, label, params, data)
        agree = (new_image[..., 0] > 100) == (new_label == 1)
        assert agree[new_label != 255].mean() > 0.96  # All but pixels on the edges.


@RECIPES
def test_tensorflow_and_pillow_agree(data, recipe):
    set_recipe(data, recipe)
    data.augment.blur_probability = 0.5
    image, label = pictures(90, 120)
    for index in range(4):
        params = augment.draw(data.augment, seed=1, epoch=0, index=index)
        image_a, label_a = by_tensorflow(image, label, params, data)
        image_b, label_b = by_pillow(image, label, params, data)
        # Positions halfway between two pixels may go either way; a shift by one pixel
        # would change a fifth of all labels.
        assert (label_a == label_b).mean() > 0.95
        valid = Image.fromarray((label_b != 255).astype(np.uint8))
        inside = np.asarray(valid.filter(ImageFilter.MinFilter(9))) > 0
        assert inside.mean() > 0.3
        # Each of Pillow's steps rounds or cuts off; TensorFlow rounds once.
        difference = np.abs(image_a.astype(int) - image_b)[inside]
        assert difference.max() <= 2 and difference.mean() < 0.8


def test_antialiased_resize_is_pillows(data):
    set_recipe(data, "release")
    image, label = pictures(150, 150)
    params = AugmentParams(scale=64 / 70)
    new_image, _ = by_tensorflow(image, label, params, data)
    wanted = Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR)
    difference = np.abs(new_image.astype(int) - np.asarray(wanted))
    assert difference.max() <= 1


@BOTH
def test_labels_are_never_blended(data, run):
    set_recipe(data, "paper")
    image, label = pictures(90, 120)
    label = np.where(label > 2, 7, 1).astype(np.uint8)
    for index in range(4):
        params = augment.draw(data.augment, seed=2, epoch=0, index=index)
        assert set(np.unique(run(image, label, params, data)[1])) <= {1, 7, 255}


@RECIPES
def test_colours_change_alike_in_both_readers(data, recipe):
    set_recipe(data, recipe)
    data.augment.update(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    image, label = pictures(60, 80)
    for index in range(3):
        params = augment.draw(data.augment, seed=1, epoch=0, index=index)
        image_a, label_a = by_tensorflow(image, label, params, data)
        image_b, label_b = by_pillow(image, label, params, data)
        valid = Image.fromarray((label_b != 255).astype(np.uint8))
        inside = np.asarray(valid.filter(ImageFilter.MinFilter(9))) > 0
        difference = np.abs(image_a.astype(int) - image_b)[inside]
        assert difference.max() <= 2 and difference.mean() < 0.8
        plain = by_pillow(image, label, params._replace(**PLAIN), data)
        assert np.abs(plain[0].astype(int) - image_b)[inside].mean() > 4
        np.testing.assert_array_equal(plain[1], label_b)


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
def test_colours_by_hand(fields, expected):
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
