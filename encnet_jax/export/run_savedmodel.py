"""Runs an exported folder as its receivers do: in a process without encnet_jax."""

import sys
import time

for absent in ("encnet_jax", "jax"):
    sys.modules[absent] = None  # type: ignore[assignment]
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

folder, images_file, output = sys.argv[1:]
call = tf.saved_model.load(folder).signatures["serving_default"]
images = tf.constant(np.load(images_file))
found = {name: value.numpy() for name, value in call(images=images).items()}
start = time.perf_counter()
[value.numpy() for value in call(images=images).values()]
seconds = time.perf_counter() - start
platform = "cuda" if tf.config.list_physical_devices("GPU") else "cpu"
np.savez(output, **found, seconds=seconds, platform=platform)
