"""Time from the command to the end of the first step, first and second time.

python -m benchmarks.startup [--backbone resnet50 --size 256]

Both runs are new processes that train on the generated scenes; the second finds the
compiled programs of the first on disk.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time

from benchmarks import measure


def child(started: float, workdir: str, args) -> None:
    """Trains, tells the time when the first step is done, and leaves at once."""
    import jax

    import train
    from encnet_jax import cli
    from encnet_jax.report.logbook import Logbook

    def step_done(logbook, step, metrics):
        jax.block_until_ready(metrics)
        print(f"seconds {time.time() - started}", flush=True)
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
    """Returns a row: seconds until the first step of a new process is done."""
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
    command = [sys.executable, "-m", "benchmarks.startup", *argv]
    command += ["--child", str(time.time()), workdir]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(ended.stderr[-3000:])
    line = next(x for x in ended.stdout.splitlines() if x.startswith("seconds "))
    return {"seconds": float(line.split()[1])}


def main() -> None:
    """Prints a table, then the same as one JSON line."""
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
        row["ratio"] = row["seconds"] / rows["first"]["seconds"]
    title = f"until the first step is done, EncNet-{args.backbone}, {args.size}"
    measure.report(title, rows, vars(args))


if __name__ == "__main__":
    main()
