"""Compares results on this machine with stored results from a CPU.

python -m encnet_jax.selftest

Checks the forward pass, the training step and the evaluation of a small EncNet in
float32 and bfloat16; a batch norm over all local devices; and whether saving and
restoring a checkpoint changes any array. Prints one line per check with the largest
difference. The exit status is 1 if a difference is too large. The test takes less than
two minutes.
"""

import json
import pathlib
import time
from typing import NamedTuple

import jax

from encnet_jax import cli

EXPECTED = pathlib.Path(__file__).with_name("expected.json")
DTYPES = ("float32", "bfloat16")
STATISTICS_WITHIN = 1e-4


class Precision(NamedTuple):
    """A precision with which devices multiply float32 matrices.

    Attributes:
        name: name of the precision, for the output.
        error_below: upper bound of checks.product_error with this precision.
        within: largest allowed difference between the float32 network's results and the
            stored results, relative to the largest stored result.
    """

    name: str
    error_below: float
    within: float


PRECISIONS = (
    Precision("float32", 5e-7, 1e-3),
    Precision("three passes of bfloat16", 1e-5, 5e-3),
    Precision("TensorFloat-32", 3e-4, 5e-2),
    Precision("one pass of bfloat16", 1e-2, 0.2),
)
BFLOAT16_WITHIN = 0.2  # Allowed difference of the bfloat16 network's results.


class Line(NamedTuple):
    """The result of one check.

    Attributes:
        name: name of the check, for the output.
        difference: the largest difference found, or the number of changed arrays.
        within: the largest allowed value of `difference`.
    """

    name: str
    difference: float
    within: float

    @property
    def passed(self) -> bool:
        return self.difference <= self.within


def main(argv):
    """Runs the checks, prints the results, and returns 1 if a check failed, else 0."""

    line = cli.CommandLine(argv, __doc__)
    line.switch(
        "record",
        "Replace the stored results by those of this machine, after a change of the"
        " network.",
    )
    values = line.parse()
    began = time.monotonic()
    from encnet_jax.pods import parallel

    if values.record:
        EXPECTED.write_text(json.dumps(measure(), indent=0) + "\n")
        print(f"wrote {EXPECTED}")
        return 0
    precision = find_precision()
    print(f"devices: {parallel.describe_devices()}, JAX {jax.__version__}")
    print(f"precision of float32 matrix products: {precision.name}")
    lines = compare(measure(), json.loads(EXPECTED.read_text()), precision)
    lines += machine_checks()
    for line in lines:
        verdict = "ok" if line.passed else "DIFFERS"
        print(
            f"{line.name:<24} {verdict:<8} largest difference {line.difference:.2g},"
            f" allowed {line.within:.2g}"
        )
    failed = sum(not line.passed for line in lines)
    seconds = time.monotonic() - began
    print(f"{len(lines) - failed} of {len(lines)} passed in {seconds:.0f} s")
    return int(failed > 0)


def find_precision() -> Precision:
    """Measures the precision of float32 matrix products; returns one of PRECISIONS."""
    from encnet_jax.selftest import checks

    error = checks.product_error()
    return next((p for p in PRECISIONS if error < p.error_below), PRECISIONS[-1])


def measure() -> dict[str, dict[str, list[float]]]:
    """Runs the checks whose results are compared with stored results.

    Returns:
        {'DTYPE/CHECK': {name of a result: numbers}}, for instance with the key
        'float32/forward'.
    """
    from encnet_jax.selftest import checks

    found = {}
    for dtype in DTYPES:
        parts = checks.make_parts(dtype)
        for check in (checks.forward, checks.training_step, checks.evaluation):
            found[f"{dtype}/{check.__name__}"] = check(parts)
    return found


def compare(found: dict, expected: dict, precision: Precision) -> list[Line]:
    """Compares the results of this machine with stored results.

    Args:
        found: results of `measure` on this machine.
        expected: results of `measure` on a CPU.
        precision: precision of float32 matrix products on this machine.

    Returns:
        One Line for each check.
    """
    from encnet_jax.selftest import checks

    lines = []
    for name, parts in expected.items():
        bfloat16 = name.startswith("bfloat16")
        within = BFLOAT16_WITHIN if bfloat16 else precision.within
        ours = found.get(name, {})
        difference = max(
            checks.largest_difference(ours.get(part, []), numbers)
            for part, numbers in parts.items()
        )
        lines.append(Line(name, difference, within))
    return lines


def machine_checks() -> list[Line]:
    """Runs the checks that need no stored results; returns a Line for each check."""
    from encnet_jax.selftest import checks

    devices = jax.local_device_count()
    return [
        Line(
            f"batch norm, {devices} devices",
            checks.shared_statistics(),
            STATISTICS_WITHIN,
        ),
        Line(
            "checkpoint, arrays changed",
            checks.checkpoint_changes(checks.make_parts("float32")),
            0,
        ),
    ]


if __name__ == "__main__":
    cli.start(main)
