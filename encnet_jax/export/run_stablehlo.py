"""Runs an exported file as its users do: in a process without encnet_jax."""

import sys
import time


def main() -> None:
    """Runs FILE on IMAGES; writes its outputs and the time of a run to OUTPUT."""
    sys.modules["encnet_jax"] = None  # type: ignore[assignment]
    import jax
    import numpy as np
    from jax import export

    file, images_file, output = sys.argv[1:]
    with open(file, "rb") as opened:
        exported = export.deserialize(bytearray(opened.read()))
    images = np.load(images_file)
    call = jax.jit(exported.call)
    found = jax.device_get(call(images))
    start = time.perf_counter()
    jax.block_until_ready(call(images))
    seconds = time.perf_counter() - start
    # The name of the platform in the file: 'cuda' for JAX's backend 'gpu'.
    platform = export.default_export_platform()
    np.savez(output, **found, seconds=seconds, platform=platform)


if __name__ == "__main__":
    main()
