"""Timing of things against each other, and how a benchmark reports."""

import importlib.metadata
import json
import statistics
import sys
import time
from collections.abc import Callable

from encnet_jax.pods import parallel

V5E_CLOCK_HZ = 1.5e9  # What turns its compiler's cycles into seconds.
SETTLING_SECONDS = 0.05


def alternate(
    candidates: dict[str, Callable], repeats: int, *, settle: bool = False
) -> dict[str, list[float]]:
    """Times functions alternately, so that a slow minute slows all of them.

    Args:
        candidates: functions by name; each returns when its work is done.
        repeats: rounds, after one that is not counted.
        settle: each turn begins with calls that are not counted, SETTLING_SECONDS long.
            Threads of PyTorch's and of XLA's pools spin for some milliseconds after
            their work, and a short function that comes next would have their cores only
            in part.

    Returns:
        Seconds of each round by name.
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
    """Returns median seconds and each one's ratio to a reference, round by round.

    Args:
        seconds: see `alternate`.
        reference: the name that the others are divided by.

    Returns:
        By name: 'seconds' (median), 'ratio' (median of the rounds' ratios),
        'ratio_low', 'ratio_high' (their extremes).
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
        title: one line above the table.
        rows: by name; columns are those of the first row, numbers or text.
        settings: sizes and whatever else the figures depend on.
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
    """Returns the installed versions that figures depend on."""
    found = {"python": sys.version.split()[0]}
    for name in ("jax", "jaxlib", "flax", "torch", "tensorflow"):
        # What a benchmark has not imported cannot have changed its figures.
        if name in sys.modules:
            found[name] = importlib.metadata.version(
                "tensorflow-cpu" if name == "tensorflow" else name
            )
    return found
