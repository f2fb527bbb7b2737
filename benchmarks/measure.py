"""Times functions against each other, and prints the report of a benchmark."""

import importlib.metadata
import json
import statistics
import sys
import time
from collections.abc import Callable

from encnet_jax.pods import parallel

V5E_CLOCK_HZ = 1.5e9  # Converts the compiler's cycles to seconds.
SETTLING_SECONDS = 0.05


def alternate(
    candidates: dict[str, Callable], repeats: int, *, settle: bool = False
) -> dict[str, list[float]]:
    """Times functions alternately, so that a slow minute slows all of them.

    Args:
        candidates: name -> function that returns when its work is done.
        repeats: number of rounds; one more round before them is not timed.
        settle: start each turn with SETTLING_SECONDS of calls that are not timed. The
            thread pools of PyTorch and XLA spin for some milliseconds after their work
            and would take cores from a short function that runs next.

    Returns:
        name -> seconds of each round.
    """
    seconds = {name: [] for name in candidates}
    for repeat in range(repeats + 1):
        for name, function in candidates.items():
            begin = time.perf_counter()
            while settle and time.perf_counter() - begin < SETTLING_SECONDS:
                function()
            start = time.perf_counter()
            function()
            if repeat:
                seconds[name].append(time.perf_counter() - start)
        print(f"round {repeat} of {repeats}", file=sys.stderr, flush=True)
    return seconds


def summarise(seconds: dict[str, list[float]], reference: str) -> dict[str, dict]:
    """Returns median seconds, and ratios to a reference computed in each round.

    Args:
        seconds: see `alternate`.
        reference: name by whose seconds the others are divided.

    Returns:
        name -> 'seconds' (median), 'ratio' (median of the rounds' ratios), 'ratio_low',
        'ratio_high' (smallest and largest ratio).
    """
    rows = {}
    for name, each in seconds.items():
        pairs = zip(each, seconds[reference], strict=True)
        ratios = [ours / theirs for ours, theirs in pairs]
        rows[name] = {
            "seconds": statistics.median(each),
            "ratio": statistics.median(ratios),
            "ratio_low": min(ratios),
            "ratio_high": max(ratios),
        }
    return rows


def report(title: str, rows: dict[str, dict], settings: dict) -> None:
    """Prints a table of rows, then device, versions, settings and rows as JSON.

    Args:
        title: the line above the table.
        rows: name -> {column: number or text}; the first row determines the columns.
        settings: sizes and other settings on which the figures depend.
    """
    device = parallel.describe_devices()
    print(f"{title}; {device}")
    width = max(map(len, rows))
    columns = list(next(iter(rows.values())))
    widths = [max(12, len(column) + 2) for column in columns]
    pairs = zip(columns, widths, strict=True)
    print(" " * width + "".join(f"{name:>{w}}" for name, w in pairs))
    for name, row in rows.items():
        pairs = zip(row.values(), widths, strict=True)
        print(f"{name:<{width}}" + "".join(f"{_shown(x):>{w}}" for x, w in pairs))
    print(
        json.dumps(
            {"device": device, "versions": versions(), "settings": settings, **rows}
        )
    )


def _shown(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def versions() -> dict[str, str]:
    """Returns the versions of the packages that affect the figures."""
    found = {"python": sys.version.split()[0]}
    for name in ("jax", "jaxlib", "flax", "torch", "tensorflow"):
        # Packages that were not imported cannot affect the figures.
        if name in sys.modules:
            found[name] = importlib.metadata.version(
                "tensorflow-cpu" if name == "tensorflow" else name
            )
    return found
