"""Runs an exported file as users do: in a process without encnet_jax."""

import sys
import time


def main() -> None:
    """Runs an exported file: run_file.py FILE SOURCE INPUTS OUTPUT.

    - FILE is the exported file.
    - SOURCE is a Python file with a function `load`, which opens FILE.
    - INPUTS is a .npz file with the inputs of the network.
    - OUTPUT is the .npz file to write. It contains the outputs, the platform, and the
      seconds that a second run took; the first run may compile.
    """
    sys.modules["encnet_jax"] = None  # type: ignore[assignment]
    import numpy as np

    file, source, inputs_file, output = sys.argv[1:]
    names: dict = {}
    with open(source, encoding="utf-8") as opened:
        exec("from __future__ import annotations\n" + opened.read(), names)
    run, platform = names["load"](file)
    inputs = [*np.load(inputs_file).values()]
    found = run(*inputs)
    start = time.perf_counter()
    run(*inputs)
    seconds = time.perf_counter() - start
    np.savez(output, **found, seconds=seconds, platform=platform)


if __name__ == "__main__":
    main()
