"""Runs an exported file as its users do: in a process without encnet_jax."""

import sys
import time


def main() -> None:
    """Runs FILE on IMAGES; writes its outputs and the time of a run to OUTPUT."""
    sys.modules["encnet_jax"] = None  # type: ignore[assignment]
    import numpy as np
    import onnxruntime

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


if __name__ == "__main__":
    main()
