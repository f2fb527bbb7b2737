"""Kills evaluations and predictions over and over: whatever they leave is whole.

python -m benchmarks.faults_outputs [--kills 20] [--seed 0]

Each of eval.py and predict.py is run once in quiet, then killed with SIGKILL at random
moments from its first image to its end, then run once more. Every file under its final
name must at all times be the quiet run's, bit for bit; a report also an older one.
Prints a tally. Exit status 1 if anything differs.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np

PROJECT = pathlib.Path(__file__).resolve().parent.parent
NUM_PHOTOS, SIDES = 60, (96, 128)
COMMANDS = {
    "eval": ("eval.py", "--output={output}"),
    "predict": ("predict.py", "--input={photos}", "--output={output}", "--overwrite"),
}
# Printed when the first image is about to be worked on.
BEGINS = {"eval": "evaluate:", "predict": "predict:"}
LONGEST_RUN_S = 600


def main() -> int:
    """Kills each command; returns 1 where something was not whole."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        make_run(folder / "run")
        make_photos(folder / "photos")
        for command in COMMANDS:
            found = run_under_fire(command, folder, args.kills, args.seed)
            bad += len(found)
            print("\n".join(found))
    return int(bool(bad))


def make_run(workdir: pathlib.Path) -> None:
    """Saves random weights, as a training of no steps would."""
    import jax

    from encnet_jax import config as config_lib
    from encnet_jax import tasks
    from encnet_jax.checkpoints import read
    from encnet_jax.train import assemble

    config = config_lib.resolve(config_lib.load("configs/quickstart.py:smoke"), 400)
    model = tasks.of(config).build_model(config, 13, None)
    variables = jax.device_get(assemble.init_variables(model, config))
    read.save_variables(str(workdir), variables, config)


def make_photos(folder: pathlib.Path) -> None:
    """Writes pictures of noise."""
    from PIL import Image

    folder.mkdir()
    for i in range(NUM_PHOTOS):
        pixels = np.random.default_rng(i).integers(0, 256, (*SIDES, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:03d}.png")


def start(command: str, folder: pathlib.Path, output: str) -> subprocess.Popen:
    """Starts a command whose results go to folder/output."""
    places = {"output": folder / output, "photos": folder / "photos"}
    script, *flags = (word.format(**places) for word in COMMANDS[command])
    words = [sys.executable, script, f"--workdir={folder / 'run'}", *flags]
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(folder / "compiled"))
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": cache}
    with open(folder / "log", "w") as log:
        return subprocess.Popen(
            words, cwd=PROJECT, env=environment, stdout=log, stderr=log
        )


def await_work(command: str, folder: pathlib.Path, process: subprocess.Popen) -> None:
    """Waits until a command begins with its first image, or ends."""
    deadline = time.monotonic() + LONGEST_RUN_S
    while process.poll() is None and time.monotonic() < deadline:
        if BEGINS[command] in (folder / "log").read_text():
            return
        time.sleep(0.01)


def run_under_fire(
    command: str, folder: pathlib.Path, kills: int, seed: int
) -> list[str]:
    """Returns a line for each file that was not whole."""
    quiet = start(command, folder, f"{command}-quiet")
    await_work(command, folder, quiet)
    began = time.monotonic()
    if quiet.wait(LONGEST_RUN_S):
        return [(folder / "log").read_text()[-2000:]]
    work_s = time.monotonic() - began
    wanted = contents(folder / f"{command}-quiet")
    chance, found, killed, in_work, left = random.Random(seed), [], 0, 0, 0
    shot = folder / f"{command}-shot"
    while killed < kills:
        process = start(command, folder, shot.name)
        await_work(command, folder, process)
        time.sleep(chance.uniform(0, work_s))
        process.kill()
        if process.wait() != -9:
            shutil.rmtree(shot)  # It had ended: nothing was tried.
            continue
        killed += 1
        there = contents(shot)
        in_work += bool(there)
        found += [f"{command}: kill {killed}, {x}" for x in differing(there, wanted)]
    left = len(list(shot.glob(".partial*")))
    last = start(command, folder, shot.name).wait(LONGEST_RUN_S)
    there = contents(shot)
    found += [f"{command}: at the end, {x}" for x in differing(there, wanted)]
    if last or there.keys() != wanted.keys():
        found.append(f"{command}: ended with {last}, {len(there)} of {len(wanted)}")
    print(
        f"{command}: {killed} kills over {work_s:.1f} s of work, {in_work} beside"
        f" results; {len(wanted)} files, {'DIFFERENT' if found else 'bit-identical'};"
        f" {left} unfinished files left under other names",
        flush=True,
    )
    return found


def contents(folder: pathlib.Path) -> dict[str, object]:
    """Returns what the finished files of a folder hold, by name."""
    files = folder.glob("*") if folder.exists() else []
    return {p.name: content(p) for p in files if not p.name.startswith(".partial")}


def content(path: pathlib.Path) -> object:
    """Returns a file's bytes; of a report all but its command, of arrays the arrays."""
    data = path.read_bytes()
    try:
        if path.suffix == ".json":
            return json.loads(data) | {"command": ""}
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                return {name: x.tobytes() for name, x in arrays.items()}
    except (ValueError, OSError) as error:
        return f"not whole: {error}"
    return data


def differing(there: dict, wanted: dict) -> list[str]:
    """Names files that are not as wanted."""
    return [name for name, value in there.items() if wanted.get(name) != value]


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    sys.exit(main())
