"""Augmentation in TensorFlow: image and mask together, as augment.py plans it."""

from typing import Any

import numpy as np

from encnet_jax.data.augment.pillow import blur, change_colours
from encnet_jax.data.augment.plan import COLOUR_FIELDS, AugmentParams, geometry
from encnet_jax.data.augment.warp import warp_image, warp_labels
from encnet_jax.data.sources.tensorflow_import import tensorflow
from encnet_jax.labels import IGNORE_LABEL


def _transform(matrix: np.ndarray) -> np.ndarray:
    """f32[6] for warp.py, where (0, 0) is the first pixel's centre."""
    offset = matrix @ [0.5, 0.5, 1.0] - 0.5
    return np.column_stack([matrix[:, :2], offset]).astype(np.float32).ravel()


def _warp(function, pixels, transform, *sizes: int):
    """Returns uint8[crop, crop, ...], `function` of warp.py in the graph."""
    tf = tensorflow()
    return tf.numpy_function(
        lambda pixels, transform: function(pixels, transform, *sizes),
        [pixels, transform],
        tf.uint8,
    )


def _resize(image, size, resized, corner):
    """Resizes uint8[H, W, 3] as Pillow's bilinear filter does, computing only a window.

    Args:
        image: uint8[H, W, 3].
        size: int32[2], height and width of the window.
        resized: int32[2], height and width of the whole image after resizing.
        corner: int32[2], top and left of the window; outside of the image it is black.

    Returns:
        f32[size, 3].
    """
    tf = tensorflow()
    return tf.raw_ops.ScaleAndTranslate(
        images=image[None],
        size=size,
        scale=tf.cast(resized / tf.shape(image)[:2], tf.float32),
        translation=-tf.cast(corner, tf.float32),
        kernel_type="triangle",
        antialias=True,
    )[0]


def augment_example(image, label, params, data: Any):
    """Augments an example inside a tf.data graph.

    Args:
        image: uint8[H, W, 3].
        label: uint8[H, W, 1], train ids.
        params: f64[n], AugmentParams.
        data: Fields crop_size, input_scale and augment of encnet_jax.config.defaults.

    Returns:
        uint8[crop, crop, 3] and uint8[crop, crop], padded with black and 255.
    """
    tf = tensorflow()
    augment, crop_size = data.augment, data.crop_size

    def plan(params, height, width):
        plan = geometry(AugmentParams(*params), int(height), int(width), data)
        return (
            _transform(plan.image_matrix),
            _transform(plan.label_matrix),
            np.array(plan.resized, np.int32),
            np.array(plan.corner, np.int32),
        )

    shape = tf.shape(image)
    image_transform, label_transform, resized, corner = tf.numpy_function(
        plan, [params, shape[0], shape[1]], [tf.float32, tf.float32, tf.int32, tf.int32]
    )
    params = tf.ensure_shape(params, [len(AugmentParams._fields)])
    if any(augment[name] for name in COLOUR_FIELDS):
        # By Pillow, as the blur below, and before the crop: padding stays black.
        image = tf.numpy_function(
            lambda image, params: change_colours(image, AugmentParams(*params)),
            [image, params],
            tf.uint8,
        )
        image = tf.ensure_shape(image, [None, None, 3])
    resized, corner = tf.ensure_shape(resized, [2]), tf.ensure_shape(corner, [2])
    label = _warp(warp_labels, label[..., 0], label_transform, crop_size, IGNORE_LABEL)
    if augment.antialias and not augment.rotate_degrees:
        # The window alone: the resized image may have ten times its pixels.
        image = tf.cond(params[0] > 0, lambda: tf.reverse(image, [1]), lambda: image)
        image = _resize(image, [crop_size, crop_size], resized, corner)
        image = tf.cast(tf.round(image), tf.uint8)
    else:
        if augment.antialias or data.input_scale != 1:
            image = _resize(image, resized, resized, [0, 0])
        image = _warp(warp_image, image, image_transform, crop_size)
    if augment.blur_probability:
        # By Pillow: in TensorFlow the temporaries of a filter cost thrice the time.
        image = tf.cond(
            params[5] > 0,
            lambda: tf.numpy_function(blur, [image, params[5]], tf.uint8),
            lambda: image,
        )
    image = tf.ensure_shape(image, [crop_size, crop_size, 3])
    return image, tf.ensure_shape(label, [crop_size, crop_size])
