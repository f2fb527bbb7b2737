"""Kills a training run repeatedly, and compares its result with an undisturbed run.

python -m benchmarks.faults [--kills 20] [--seed 0] [--processes 2]

The run is killed with SIGKILL at random moments during steps, checkpoint writes and
evaluations, and restarted each time. It must end with bitwise identical parameters.
With several processes, one is killed, and the others must end too. Prints one line per
kill, the number of kills, the fraction of time spent in steps that were not repeated,
and the time that restarts needed to reach the step at which the run was killed. The
exit status is 1 if anything differs.
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
LONGEST_DELAY_S = 0.2  # Largest delay of a kill after its phase has begun.
LONGEST_RUN_S = 900  # Time limit of one start, until its end or its kill.
LONGEST_END_S = 200  # Time limit for processes to end after another was killed.
MOST_SAVES = 1  # Largest number of checkpoints between a kill and the next phase.
COMMAND = (
    "--config=configs/quickstart.py:smoke",
    # Steps long enough for kills between two checkpoints.
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
    """Trains an undisturbed run and a run with kills; compares them."""
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
    """Starts a training run in new processes."""
    workdir.mkdir(exist_ok=True)
    (workdir / "phase").write_text("start")
    command = [sys.executable, __file__, f"--child={workdir}", f"--steps={args.steps}"]
    environment = {
        "JAX_COMPILATION_CACHE_DIR": str(workdir.parent / "compiled"),
        **os.environ,
        "PYTHONPATH": str(PROJECT),
    }
    if args.processes > 1:
        # No cache: only process 0 would load programs from it, and Gloo's timeout of
        # 30 s would expire while the others compile.
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
    """Trains; process 0 writes its current phase to a file."""
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
    """Returns the current phase of a run: 'start' or one of PHASES."""
    if any((workdir / "checkpoints").glob("*-tmp*")):
        return "checkpoint"
    return (workdir / "phase").read_text()


def checkpoints_of(workdir: pathlib.Path) -> list[int]:
    """Returns the steps of all checkpoints; these runs never remove a checkpoint."""
    folders = (workdir / "checkpoints").glob("*")
    return [int(path.name) for path in folders if path.name.isdigit()]


def run_under_fire(workdir: pathlib.Path, args) -> collections.Counter:
    """Kills and restarts a run until it ends normally; returns phase -> kills."""
    tally, chance = collections.Counter(), random.Random(args.seed)
    while True:
        processes = start(workdir, args)
        kills = sum(tally.values())
        target = PHASES[kills % len(PHASES)] if kills < args.kills else None
        # Without progress between kills, all kills would hit the same few steps.
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
        False if the run ended earlier.
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
    """Returns a sentence with goodput and seconds to recover.

    Args:
        quiet, shot: folders of the undisturbed and of the killed run.
        wall_s: total wall time of all starts of the killed run, seconds.
    """
    from encnet_jax.train import starts

    (calm,), noted = starts.read(str(quiet)), starts.read(str(shot))
    useful = sum(start.seconds["steps"] - start.lost_s for start in noted)
    # A start that was killed before it logged a step has not recovered.
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
    """Returns the end of a run's output."""
    return (workdir / "log").read_text()[-3000:]


def differences(quiet: pathlib.Path, shot: pathlib.Path) -> list[str]:
    """Lists the arrays that differ bitwise in the first checkpoints that differ.

    Returns:
        A line for each array; empty if all are equal.
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
