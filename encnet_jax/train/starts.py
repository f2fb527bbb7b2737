"""Records the steps and the time of each start of a run in WORKDIR/time.json.

A run is started once, and again after every interruption. A killed process cannot
record when it ended, so the next start computes the lost time from the last record.
"""

import json
from typing import NamedTuple

from etils import epath

from encnet_jax import storage
from encnet_jax.errors import UserError
from encnet_jax.storage import outputs

FILE_NAME = "time.json"


class Start(NamedTuple):
    """Record of the first start of a run, or of a later start that resumed the run.

    Attributes:
        from_step: step of the checkpoint from which the run resumed, or 0.
        to_step: the last recorded step.
        seconds: seconds by activity, see account.PARTS.
        lost_s: seconds that the previous start spent on steps after `from_step`, which
            this start had to repeat.
    """

    from_step: int
    to_step: int
    seconds: dict[str, float]
    lost_s: float


def read(workdir: str) -> list[Start]:
    """Returns the recorded starts, oldest first; [] if the file is missing or damaged.

    A damaged file is not an error, because the file is used only for reports.
    """
    try:
        content = storage.read_json(epath.Path(workdir) / FILE_NAME)
        starts = [Start(**start) for start in content["starts"]]
    except (UserError, KeyError, TypeError):
        return []
    return starts if all(map(_is_start, starts)) else []


def _is_start(start: Start) -> bool:
    seconds = start.seconds
    if not isinstance(seconds, dict) or "steps" not in seconds:
        return False
    numbers = [start.from_step, start.to_step, start.lost_s, *seconds.values()]
    return all(type(x) in (int, float) and 0 <= x < 2**53 for x in numbers)


def write(workdir: str, starts: list[Start]) -> None:
    """Writes WORKDIR/time.json atomically."""
    target = epath.Path(workdir) / FILE_NAME
    content = {"starts": [start._asdict() for start in starts]}
    text = json.dumps(content, indent=1) + "\n"
    outputs.write(target, "table of starts", text, "--workdir")


def lost_seconds(starts: list[Start], from_step: int) -> float:
    """Returns the seconds that the newest recorded start spent on lost steps.

    Lost steps are the steps after `from_step`, which the resumed run repeats. Time
    spent on evaluations, or after the last record, is not included.

    Args:
        starts: the recorded starts, oldest first.
        from_step: step of the checkpoint from which the run resumes.
    """
    if not starts:
        return 0.0
    last = starts[-1]
    done = last.to_step - last.from_step
    lost = last.to_step - max(from_step, last.from_step)
    return last.seconds["steps"] * lost / done if lost > 0 else 0.0


def goodput(starts: list[Start]) -> float:
    """Returns the fraction of the time of all starts that was spent on useful steps.

    Steps that were lost by a restart are not useful.
    """
    total = sum(sum(start.seconds.values()) for start in starts)
    steps = sum(start.seconds["steps"] - start.lost_s for start in starts)
    return steps / total if total else 0.0


def describe(starts: list[Start]) -> list[str]:
    """Returns one or two lines to print about the time of a run.

    The first line states the seconds of the newest start by activity. The second line,
    printed only if there are several starts, states the totals of all starts.
    """
    parts = starts[-1].seconds
    shown = ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items())
    lines = [f"{sum(parts.values()):.1f} s: {shown}"]
    if len(starts) > 1:
        total = sum(sum(start.seconds.values()) for start in starts)
        lost = sum(start.lost_s for start in starts)
        lines.append(
            f"{len(starts)} starts, {total:.1f} s: {lost:.1f} s of steps lost by"
            f" restarts, goodput {100 * goodput(starts):.1f} %"
        )
    return lines
