"""TensorFlow's SavedModel: the StableHLO program in a folder that TensorFlow loads."""

import pathlib

from encnet_jax.data.tensorflow_import import tensorflow
from encnet_jax.export.program import Program

PLATFORMS = ("cpu", "cuda", "tpu")


def write(program: Program, folder: pathlib.Path) -> None:
    """Writes a program for any number of images, with the signature serving_default.

    Args:
        program: its weights become part of the graph.
        folder: that is not there yet.

    Raises:
        UserError: TensorFlow is missing.
    """
    tf = tensorflow()
    from jax.experimental import jax2tf

    function = jax2tf.convert(
        program.run,
        polymorphic_shapes=[f"(batch, {program.height}, {program.width}, 3)"],
        with_gradient=False,  # It would save the weights a second time.
        native_serialization_platforms=PLATFORMS,
    )
    shape = (None, program.height, program.width, 3)
    images = tf.TensorSpec(shape, tf.uint8, name="images")
    module = tf.Module()
    module.run = tf.function(function, autograph=False, input_signature=[images])
    tf.saved_model.save(module, str(folder), signatures=module.run)
