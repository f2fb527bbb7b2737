"""Runs an exported file as its receivers do: in a process without encnet_jax."""

import sys
import time

sys.modules["encnet_jax"] = None  # type: ignore[assignment]
import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402

file, images_file, output = sys.argv[1:]
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
names = [each.name for each in session.get_outputs()]
images = np.load(images_file)
found = session.run(names, {"images": images})
start = time.perf_counter()
session.run(names, {"images": images})
seconds = time.perf_counter() - start
found = dict(zip(names, found, strict=True))
np.savez(output, **found, seconds=seconds, platform="cpu")
