"""Kills a training run over and over, and compares what comes out with a quiet run.

python -m benchmarks.faults [--kills 20] [--seed 0] [--processes 2]

The run is killed with SIGKILL at random moments of its steps, its checkpoint writes and
its evaluations, started again each time, and must end with bit-identical parameters.
Of several processes one is killed, and the others must end too. Prints a line for each
kill, a tally, what share of the time went into steps that count, and how long a start
took to be where the one before it was killed. Exit status 1 if anything differs.
"""

import argparse
import collections
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
from typing import NoReturn

from benchmarks.joined import joining_flags

PROJECT = pathlib.Path(__file__).resolve().parent.parent
PHASES = ("steps", "checkpoint", "evaluation")
LONGEST_DELAY_S = 0.2  # Of a kill, after its phase was seen.
LONGEST_RUN_S = 900  # Of one start, to its end or its kill.
LONGEST_END_S = 200  # Of processes that lost another.
MOST_SAVES = 1  # Awaited after a kill before the next phase is, at most.
COMMAND = (
    "--config=configs/quickstart.py:smoke",
    # Steps long enough to be hit between two checkpoints.
    "--config.data.crop_size=64",
    "--config.model.head_channels=16",
    "--config.model.aux_channels=8",
    "--config.train.batch_size=8",
    "--config.train.eval_every_epochs=0.6",
    "--config.train.checkpoint_every_steps=15",
    "--config.train.keep_checkpoints=1000",
    "--config.train.max_minutes=0",
    "--config.train.num_pictures=0",
    "--config.eval.max_images=16",
)


def main() -> int:
    """Runs quietly, runs under fire, compares."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args, joining = parser.parse_known_args()
    if args.child:
        run_child(pathlib.Path(args.child), args.steps, joining)
    if joining:
        parser.error(f"no such flags: {' '.join(joining)}")
    with tempfile.TemporaryDirectory() as folder:
        quiet, shot = pathlib.Path(folder, "quiet"), pathlib.Path(folder, "shot")
        for process in start(quiet, args):
            process.wait(LONGEST_RUN_S)
        began = time.monotonic()
        tally = run_under_fire(shot, args)
        print(describe_time(quiet, shot, time.monotonic() - began))
        found = differences(quiet, shot)
    kills = sum(tally.values())
    print(f"kills: {kills}, {dict(tally)}")
    print("parameters, statistics:", "DIFFERENT" if found else "bit-identical")
    print("\n".join(found))
    if kills < args.kills:
        print(f"the run ended before {args.kills} kills: add --steps")
    return int(bool(found) or kills < args.kills)


def start(workdir: pathlib.Path, args) -> list[subprocess.Popen]:
    """Starts a training run in processes of its own."""
    workdir.mkdir(exist_ok=True)
    (workdir / "phase").write_text("start")
    command = [sys.executable, __file__, f"--child={workdir}", f"--steps={args.steps}"]
    environment = {
        "JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "compiled"),
        **os.environ,
        "PYTHONPATH": str(PROJECT),
    }
    if args.processes > 1:
        # Only the first would find its programs there, and Gloo waits 30 s at most.
        environment |= {"JAX_COMPILATION_CACHE_DIR": "", "JAX_PLATFORMS": "cpu"}
    with open(workdir / "log", "a") as log:
        return [
            subprocess.Popen(
                [*command, *joining],
                cwd=PROJECT,
                env=environment,
                stdout=log,
                stderr=log,
            )
            for joining in joining_flags(args.processes)
        ]


def run_child(workdir: pathlib.Path, steps: int, joining: list[str]) -> NoReturn:
    """Trains; the first process keeps in a file what it is at."""
    import train
    from encnet_jax import cli
    from encnet_jax.train import loop
    from encnet_jax.train.validate import Validator

    def noted(phase, function):
        def wrapper(*args):
            (workdir / "phase").write_text(phase)
            try:
                return function(*args)
            finally:
                (workdir / "phase").write_text("steps")

        return wrapper

    if not joining or "--process_id=0" in joining:
        Validator.score = noted("evaluation", Validator.score)
        loop._loop = noted("steps", loop._loop)
    flags = (f"--workdir={workdir}", f"--config.train.total_steps={steps}")
    sys.argv = ["train.py", *COMMAND, *flags, *joining]
    cli.start(train.main)


def phase_of(workdir: pathlib.Path) -> str:
    """Returns what a run is at: 'start' or one of PHASES."""
    if any((workdir / "checkpoints").glob("*-tmp*")):
        return "checkpoint"
    return (workdir / "phase").read_text()


def checkpoints_of(workdir: pathlib.Path) -> list[int]:
    """Returns the steps of the checkpoints there are; none is ever removed here."""
    folders = (workdir / "checkpoints").glob("*")
    return [int(path.name) for path in folders if path.name.isdigit()]


def run_under_fire(workdir: pathlib.Path, args) -> collections.Counter:
    """Kills and restarts a run until it ends normally; counts kills by phase."""
    tally, chance = collections.Counter(), random.Random(args.seed)
    while True:
        processes = start(workdir, args)
        kills = sum(tally.values())
        target = PHASES[kills % len(PHASES)] if kills < args.kills else None
        # Without some progress between kills all would fall on the same few steps.
        enough = len(checkpoints_of(workdir)) + chance.randint(0, MOST_SAVES)
        victim = chance.choice(processes)
        if await_moment(victim, workdir, target, enough, chance):
            victim.kill()
        victim.wait()
        statuses = [process.wait(LONGEST_END_S) for process in processes]
        if not any(statuses):
            return tally
        if victim.returncode != -9 or 0 in statuses:
            raise SystemExit(tail(workdir))
        tally[target] += 1
        newest = max(checkpoints_of(workdir), default=None)
        print(
            f"kill {kills + 1}: during {target}; newest checkpoint {newest}", flush=True
        )


def await_moment(process, workdir, target: str | None, enough: int, chance) -> bool:
    """Waits for a random moment of a phase, after a number of checkpoints.

    Returns:
        False if the run ended before.
    """
    deadline = time.monotonic() + LONGEST_RUN_S
    while process.poll() is None:
        if time.monotonic() > deadline:
            process.kill()
            raise SystemExit(f"no end after {LONGEST_RUN_S} s: {tail(workdir)}")
        if len(checkpoints_of(workdir)) < enough or phase_of(workdir) != target:
            time.sleep(0.002)
            continue
        time.sleep(chance.uniform(0, LONGEST_DELAY_S))
        if phase_of(workdir) == target:
            return True
    return False


def describe_time(quiet: pathlib.Path, shot: pathlib.Path, wall_s: float) -> str:
    """Returns goodput and seconds to recover, in words.

    Args:
        quiet, shot: the runs' folders.
        wall_s: all starts of the second took, what they did not live to note included.
    """
    from encnet_jax.train import starts

    (calm,), noted = starts.read(str(quiet)), starts.read(str(shot))
    useful = sum(start.seconds["steps"] - start.lost_s for start in noted)
    # A start that was killed before its first note after a step recovered nothing.
    recovered = [start for start in noted[1:] if start.to_step > start.from_step]
    seconds = [
        start.seconds["start-up"] + start.seconds["compiling"] + start.lost_s
        for start in recovered
    ]
    alone = calm.seconds["steps"] / sum(calm.seconds.values())
    line = f"goodput {100 * useful / wall_s:.1f} % of {wall_s:.0f} s"
    line += f" (quiet: {100 * alone:.1f} %)"
    if not seconds:
        return line
    return line + (
        f"; to recover {statistics.median(seconds):.1f} s"
        f" ({min(seconds):.1f}-{max(seconds):.1f}), {len(seconds)} starts"
    )


def tail(workdir: pathlib.Path) -> str:
    """Returns the end of what a run printed."""
    return (workdir / "log").read_text()[-3000:]


def differences(quiet: pathlib.Path, shot: pathlib.Path) -> list[str]:
    """Names what is not equal bit for bit in the first checkpoints that differ.

    Returns:
        A line for each array; none if all are equal.
    """
    ends = [max(checkpoints_of(run)) for run in (quiet, shot)]
    if len(set(ends)) > 1:
        return ["the runs ended at steps {} and {}".format(*ends)]
    for step in sorted(set(checkpoints_of(quiet)) & set(checkpoints_of(shot))):
        if found := differences_at(step, quiet, shot):
            return found
    return []


def differences_at(step: int, quiet: pathlib.Path, shot: pathlib.Path) -> list[str]:
    """Returns a line for each array that differs in the checkpoints of a step."""
    import jax

    from encnet_jax.checkpoints import read

    ours, theirs = (
        jax.tree_util.tree_leaves_with_path(read.restore_variables(str(run), step)[0])
        for run in (quiet, shot)
    )
    return [
        f"step {step}: {jax.tree_util.keystr(path, simple=True, separator='/')} by"
        f" {abs(one - other).max():.2g}"
        for (path, one), (_, other) in zip(ours, theirs, strict=True)
        if one.tobytes() != other.tobytes()
    ]


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    sys.exit(main())
