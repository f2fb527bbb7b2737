"""Runs the cases and prints a table: command, exit status, last line, verdict.

python tests/faults/table.py [--only 14 "2 read"] [--output faults.md] [--limit 180]
python tests/faults/table.py --part 1/2      # and 2/2 beside it

The exit status is 1 where a case hangs, ends with a traceback that is not expected, has
another status, does not say what it should, or touches what it must not.
"""

import argparse
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[0]))

import fixtures
import kinds  # noqa: F401  # It registers the cases.
from registry import CASES, Case


class Outcome(NamedTuple):
    """How a case ended: `verdict` is 'ok' or what was wrong."""

    name: str
    command: str
    status: int | None
    last_line: str
    verdict: str
    seconds: float


def try_case(
    name: str, root: pathlib.Path, *, limit_s: float, made: pathlib.Path
) -> Outcome:
    """Runs a case in an empty folder.

    Args:
        name: of CASES.
        root: the folder.
        limit_s: after so long it hangs.
        made: what fixtures.make made; the case gets copies.
    """
    case = CASES[name]
    for need in case.needs:
        subprocess.run(["cp", "-r", f"{made / need}/.", root], check=True)
    steps = case.run(root)
    try:
        words = next(steps)
    except Exception as error:  # A case that is broken must not end the table.
        verdict = f"the case itself failed: {type(error).__name__}: {error}"
        return Outcome(name, "", None, "", verdict, 0.0)
    began = time.monotonic()
    process = subprocess.Popen(
        words,
        cwd=root,
        env=fixtures.ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        streams = process.communicate(timeout=limit_s)
        status = process.returncode
    except subprocess.TimeoutExpired:
        # What it started would write on into a folder that is being removed.
        os.killpg(process.pid, signal.SIGKILL)
        streams, status = process.communicate(), None
    text = _text(*streams)
    seconds = time.monotonic() - began
    verdict = judge(case, status, text, steps)
    shown = shlex.join(words[1:]).replace(str(root), "$T")
    lines = [line for line in text.splitlines() if line.strip()]
    return Outcome(name, shown, status, lines[-1] if lines else "", verdict, seconds)


def _text(*streams: bytes | None) -> str:
    return b"".join(x or b"" for x in streams).decode("utf-8", "replace")


def judge(case: Case, status: int | None, text: str, steps) -> str:
    """Returns 'ok', or what is wrong with how a case ended."""
    if status is None:
        return "HANGS"
    if "Traceback" in text and not case.traceback:
        return "TRACEBACK"
    if status not in case.statuses:
        return f"status {status}; expected {' or '.join(map(str, case.statuses))}"
    if case.says not in text:
        return f"does not say {case.says!r}"
    try:
        next(steps, None)
    except AssertionError as error:
        return f"touched what it must not: {error}"
    return "ok"


def row(outcome: Outcome) -> str:
    """Returns a row of the Markdown table."""
    cells = (
        outcome.name,
        f"`{outcome.command[:160]}`",
        str(outcome.status),
        outcome.last_line[:200],
        outcome.verdict,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> int:
    """Runs the chosen cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", help="cases whose name begins so")
    parser.add_argument("--output", help="also write the table to this file")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds for a case")
    parser.add_argument("--part", default="1/1", help="2/3: the second of every three")
    args = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # Names may be no text.
    names = [n for n in CASES if not args.only or n.startswith(tuple(args.only))]
    if not re.fullmatch("[1-9][0-9]*/[1-9][0-9]*", args.part):
        parser.error(f"--part is {args.part!r}; expected one such as 1/2")
    first, of = map(int, args.part.split("/"))
    names = names[first - 1 :: of]
    head = "| case | command | exit status | last line | verdict |"
    lines, bad = [head, "| --- | --- | --: | --- | --- |"], 0
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as made:
        fixtures.make(pathlib.Path(made), {x for n in names for x in CASES[n].needs})
        for name in names:
            with tempfile.TemporaryDirectory() as folder:
                outcome = try_case(
                    name,
                    pathlib.Path(folder),
                    limit_s=args.limit,
                    made=pathlib.Path(made),
                )
                subprocess.run(["chmod", "-R", "u+rwX", folder], check=True)
            bad += outcome.verdict != "ok"
            lines.append(row(outcome))
            print(lines[-1], flush=True)
    lines.append(f"\n{len(names)} cases, {bad} not ok")
    print(lines[-1])
    if args.output:
        pathlib.Path(args.output).write_text(
            "\n".join(lines) + "\n", errors="backslashreplace"
        )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
