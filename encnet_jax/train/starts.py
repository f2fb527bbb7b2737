"""The starts of a run: what each one did and how long, kept in WORKDIR/time.json.

A killed run writes nothing at its end. From what it wrote at its last log line, the
next start computes how much work was lost.
"""

import json
from typing import NamedTuple

from etils import epath

FILE_NAME = "time.json"


class Start(NamedTuple):
    """One process's part of a run.

    Attributes:
        from_step: where it began: the newest checkpoint's step, or 0.
        to_step: the last step it is known to have done.
        seconds: of account.PARTS.
        lost_s: of the start before it: steps that its checkpoints did not hold.
    """

    from_step: int
    to_step: int
    seconds: dict[str, float]
    lost_s: float


def read(workdir: str) -> list[Start]:
    """Returns the starts so far; none where the file is not there.

    What cannot be read counts as none: nothing but a report hangs on it.
    """
    try:
        text = (epath.Path(workdir) / FILE_NAME).read_text()
        return [Start(**start) for start in json.loads(text)["starts"]]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return []


def write(workdir: str, starts: list[Start]) -> None:
    """Writes the file, whole or not at all."""
    target = epath.Path(workdir) / FILE_NAME
    partial = target.with_name(f"{FILE_NAME}.partial")
    content = {"starts": [start._asdict() for start in starts]}
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(target)


def lost_seconds(starts: list[Start], from_step: int) -> float:
    """Returns how long the newest start took for steps after `from_step`.

    Its evaluations, and its time after the last thing it wrote, are not in it.
    """
    if not starts:
        return 0.0
    last = starts[-1]
    done = last.to_step - last.from_step
    lost = last.to_step - max(from_step, last.from_step)
    return last.seconds["steps"] * lost / done if lost > 0 else 0.0


def goodput(starts: list[Start]) -> float:
    """Returns the share of all starts' time that went into steps that count."""
    total = sum(sum(start.seconds.values()) for start in starts)
    steps = sum(start.seconds["steps"] - start.lost_s for start in starts)
    return steps / total


def describe(starts: list[Start]) -> list[str]:
    """Returns lines for people: the newest start's parts, then all of them."""
    parts = starts[-1].seconds
    shown = ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items())
    lines = [f"{sum(parts.values()):.1f} s: {shown}"]
    if len(starts) > 1:
        total = sum(sum(start.seconds.values()) for start in starts)
        lost = sum(start.lost_s for start in starts)
        lines.append(
            f"{len(starts)} starts, {total:.1f} s: {lost:.1f} s of steps lost to"
            f" restarts, goodput {100 * goodput(starts):.1f} %"
        )
    return lines
