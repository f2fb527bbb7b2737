"""Imports TensorFlow and TFDS; TensorFlow uses only the CPU and prints no log.

All modules must import TensorFlow through this module: otherwise TensorFlow would
allocate accelerator memory that JAX needs.
"""

import functools
import importlib.util
import logging
import os

from encnet_jax.errors import UserError


def uses_tensorflow(reader: str) -> bool:
    """Returns whether `reader`, the value of data.reader, selects TensorFlow.

    The value 'tfds' selects TensorFlow; 'auto' does so only if TensorFlow is installed.
    """
    if reader != "auto":
        return reader == "tfds"
    try:
        return importlib.util.find_spec("tensorflow") is not None
    except Exception:  # An import hook failed; the import will report it.
        return True


@functools.cache
def tensorflow():
    """Imports TensorFlow without access to GPUs and TPUs, and returns the module.

    Raises:
        UserError: TensorFlow cannot be imported.
    """
    # Hides TensorFlow's log: callers report errors. JAX sets 1 if the user did not.
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # oneDNN would print a notice.
    try:
        import tensorflow as tf
    # A mismatched installation raises errors of many types.
    except Exception as error:
        raise UserError(
            f"TensorFlow cannot be imported ({_short(error)}); run pip install"
            " tensorflow-cpu (Python 3.13 or older), which is required to prepare data"
            " sets; or set data.reader='arrays' to read prepared data sets"
        ) from None
    tf.get_logger().setLevel(logging.ERROR)
    for kind in ("GPU", "TPU"):
        tf.config.set_visible_devices([], kind)
    return tf


@functools.cache
def tensorflow_datasets():
    """Imports TFDS and returns the module.

    Raises:
        UserError: TFDS or TensorFlow cannot be imported.
    """
    tensorflow()
    try:
        import tensorflow_datasets as tfds
    except Exception as error:
        raise UserError(
            f"TFDS cannot be imported ({_short(error)}); run pip install"
            " tensorflow-datasets array-record importlib_resources"
        ) from None
    return tfds


def decode_image(image_bytes):
    """Decodes a JPEG or PNG inside a tf.data graph.

    Returns:
        RGB uint8[H, W, 3]; the pixels are equal to those that Pillow decodes.
    """
    tf = tensorflow()
    image = tf.cond(
        tf.io.is_jpeg(image_bytes),
        lambda: tf.io.decode_jpeg(
            image_bytes, channels=3, dct_method="INTEGER_ACCURATE"
        ),
        lambda: tf.io.decode_png(image_bytes, channels=3),
    )
    return tf.ensure_shape(image, [None, None, 3])


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    return text if isinstance(error, ImportError) else f"{type(error).__name__}: {text}"


def prepared_builder(info, data_dir: str):
    """Returns the TFDS builder of a data set that TFDS prepared.

    Args:
        info: the DatasetInfo of the data set.
        data_dir: folder of prepared data sets; ~ is expanded.

    Raises:
        UserError: the data set is not prepared in data_dir, or TFDS is not installed.
    """
    tfds = tensorflow_datasets()
    builder = tfds.builder(info.name, data_dir=os.path.expanduser(data_dir))
    if not builder.is_prepared():
        raise UserError(
            f"{info.name} is not prepared: found no data set in {builder.data_path};"
            f" {info.how_to_prepare(data_dir)}"
        )
    return builder
