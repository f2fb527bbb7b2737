"""Compiled loops find the same pixels as TensorFlow's projective transform."""

import errno
import platform
import sys

import numba
import numpy as np
import pytest
from numba.core.caching import FunctionCache

from encnet_jax.data.augment import warp, warp_loops
from encnet_jax.data.sources.tensorflow_import import tensorflow
from encnet_jax.errors import UserError

SIZE = 48

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"),
    reason="elsewhere TensorFlow may be compiled to round once for a product and a sum",
)


def by_tensorflow(pixels, transform, interpolation, fill):
    """The operation on [H, W, c], whose fractions uint8 would cut off."""
    tf = tensorflow()
    warped = tf.raw_ops.ImageProjectiveTransformV3(
        images=pixels[None],
        transforms=np.append(transform, [0, 0]).astype(np.float32)[None],
        output_shape=[SIZE, SIZE],
        fill_value=fill,
        interpolation=interpolation,
        fill_mode="CONSTANT",
    )
    return tf.cast(tf.round(tf.cast(warped, tf.float32)), tf.uint8).numpy()[0]


def random_transform(rng):
    """Mirrored half of the time, scaled, turned, partly or wholly outside."""
    scale, angle = rng.uniform(0.3, 2), np.deg2rad(rng.uniform(-30, 30))
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    mirror = rng.choice([-1, 1])
    x, y = rng.uniform(-60, 90, 2)
    return np.float32([mirror * cos, -sin, x, mirror * sin, cos, y])


def half_pixels(rng):
    """Positions on and exactly between pixels, where rounding has ties."""
    scale, mirror = rng.choice([0.5, 1, 2]), rng.choice([-1, 1])
    x, y = rng.integers(-40, 80, 2) / 2
    return np.float32([mirror * scale, 0, x, 0, scale, y])


TRANSFORMS = pytest.mark.parametrize("draw", [random_transform, half_pixels])


@TRANSFORMS
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_are_equal_in_every_bit(draw, dtype):
    rng = np.random.default_rng(0)
    for _ in range(60):
        height, width = rng.integers(1, 80, 2)
        image = (255 * rng.random((height, width, 3))).astype(dtype)
        transform = draw(rng)
        wanted = by_tensorflow(image.astype(np.float32), transform, "BILINEAR", 0.0)
        np.testing.assert_array_equal(warp.warp_image(image, transform, SIZE), wanted)


@TRANSFORMS
def test_labels_are_equal(draw):
    rng = np.random.default_rng(0)
    for _ in range(60):
        labels = rng.integers(0, 200, rng.integers(1, 80, 2), np.uint8)
        transform = draw(rng)
        wanted = by_tensorflow(labels[..., None], transform, "NEAREST", 255.0)[..., 0]
        found = warp.warp_labels(labels, transform, SIZE, 255)
        np.testing.assert_array_equal(found, wanted)


def test_without_numba_a_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "encnet_jax.data.augment.warp_loops")
    with pytest.raises(UserError, match="numba cannot be imported.*data.reader"):
        import encnet_jax.data.augment.warp_loops  # noqa: F401


def test_compiled_loops_are_kept(monkeypatch, tmp_path):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    for hits in (0, 1):
        loop = warp_loops._compiled(warp_loops.packed.py_func)
        loop(np.zeros((2, 2, 3), np.uint8))
        assert sum(loop.stats.cache_hits.values()) == hits


def test_loops_run_where_nothing_can_be_kept(monkeypatch, tmp_path):
    """Where no folder can be written, and where the disk is full."""
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    wanted = warp_loops.packed(image)

    def raising(error):
        def fail(*args):
            raise error

        return fail

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    for name, error in (
        ("__init__", RuntimeError("no locator available")),
        ("save_overload", OSError(errno.ENOSPC, "No space left on device")),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(FunctionCache, name, raising(error))
            loop = warp_loops._compiled(warp_loops.packed.py_func)
            np.testing.assert_array_equal(loop(image), wanted)
