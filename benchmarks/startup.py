"""Times the start of training: from the command to the end of the first step.

python -m benchmarks.startup [--backbone resnet50 --size 256]

Runs twice in new processes on the generated scenes; the second run loads the compiled
programs of the first from disk. `overhead` is the time without that of a normal step.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

from benchmarks import measure


def child(started: float, workdir: str, args) -> None:
    """Trains, prints when each of the first two steps is done, and exits."""
    import jax

    import train
    from encnet_jax import cli
    from encnet_jax.train.logbook import Logbook

    def step_done(logbook, step, state, metrics):
        jax.block_until_ready(metrics)
        print(f"step {step}: {time.time() - started}", flush=True)
        if step == 2:
            os._exit(0)

    Logbook.step_done = step_done
    command = ["train.py", "--config=configs/quickstart.py", f"--workdir={workdir}"]
    command += [
        f"--config.model.backbone={args.backbone}",
        f"--config.data.crop_size={args.size}",
        f"--config.train.batch_size={args.batch}",
    ]
    sys.exit(cli.run(train.main, command))


def run(argv: list[str], cache: str, workdir: str) -> dict:
    """Trains in a new process; returns its row of the table."""
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
    command = [sys.executable, "-m", "benchmarks.startup", *argv]
    command += ["--child", str(time.time()), workdir]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(ended.stderr[-3000:])
    lines = [x for x in ended.stdout.splitlines() if x.startswith("step ")]
    first, second = (float(line.split()[-1]) for line in lines)
    return {"first step s": first, "overhead s": 2 * first - second}


def main() -> None:
    """Prints the results as a table, and as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(float(args.child[0]), args.child[1], args)
    argv = [f"--{x}={getattr(args, x)}" for x in ("backbone", "size", "batch")]
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first", "second"):
            rows[name] = run(argv, f"{folder}/cache", f"{folder}/{name}")
    for row in rows.values():
        row["ratio"] = row["overhead s"] / rows["first"]["overhead s"]
    title = f"start-up, EncNet-{args.backbone}, {args.batch} x {args.size}"
    settings = {name: x for name, x in vars(args).items() if name != "child"}
    measure.report(title, rows, settings)


if __name__ == "__main__":
    main()
