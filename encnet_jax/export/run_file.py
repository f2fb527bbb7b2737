"""Runs an exported file as its users do: in a process without encnet_jax."""

import sys
import time


def main() -> None:
    """Runs an exported model on the arrays of the .npz file INPUTS.

    The Python file SOURCE defines `load`, which loads the model from FILE.
    Writes the outputs, the duration of a second run in seconds, and the platform to
    OUTPUT.
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
