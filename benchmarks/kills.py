"""Kills eval.py and predict.py repeatedly, and checks the files that they leave.

python -m benchmarks.kills [--kills 20] [--seed 0]

Trains a network for four steps, and runs each command once undisturbed for reference.
Then it kills each command with SIGKILL at random moments: files that exist must be
complete. The last start ends normally and must leave the same files as the reference,
byte for byte. An interrupted write may leave a hidden `.partial-` file, which no
command reads. The exit status is 1 if a check fails.
"""

import argparse
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image

PROJECT = pathlib.Path(__file__).resolve().parent.parent
TRAIN = (
    "--config=configs/quickstart.py:smoke",
    "--config.model.head_channels=16",
    "--config.model.aux_channels=8",
    "--config.eval.max_images=40",
    "--config.train.num_pictures=0",
)
NUM_PICTURES = 12
LONGEST_S = 600  # Time limit of one start.


def main() -> int:
    """Trains, then kills each command; prints a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as name:
        run, pictures = pathlib.Path(name, "run"), pathlib.Path(name, "pictures")
        write_images(pathlib.Path(name, "images"), args.seed)
        start("train.py", *TRAIN, f"--workdir={run}").wait(LONGEST_S)
        predict = ("predict.py", f"--workdir={run}", f"--input={name}/images")
        results = [
            survives(("eval.py", f"--workdir={run}"), run, args.kills, chance),
            survives(
                (*predict, f"--output={pictures}", "--overwrite"),
                pictures,
                args.kills,
                chance,
            ),
        ]
    return int(not all(results))


def write_images(folder: pathlib.Path, seed: int) -> None:
    """Writes a few images of noise."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for i in range(NUM_PICTURES):
        pixels = rng.integers(0, 256, (96, 128, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")


def start(*command: str) -> subprocess.Popen:
    """Starts a command of the project; its output is dropped."""
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def survives(command, folder: pathlib.Path, kills: int, chance) -> bool:
    """Kills a command several times, lets it end once, and checks its files.

    Args:
        command: the command to start.
        folder: the folder to which it writes.
        kills: number of kills.
        chance: a random.Random.

    Returns:
        Whether the files are correct.
    """
    before = contents(folder)
    began = time.monotonic()
    status = start(*command).wait(LONGEST_S)
    seconds = time.monotonic() - began
    whole = contents(folder)
    written = set(whole) - set(before)
    if status or not written:
        print(f"{command[0]}: status {status}, {len(written)} files written")
        return False
    torn, left = set(), []
    for _ in range(kills):
        for path in written:
            (folder / path).unlink(missing_ok=True)
        process = start(*command)
        try:
            process.wait(chance.uniform(0.2, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        found = contents(folder)
        left.append(len(found.keys() & written))
        torn |= {p for p in found.keys() & whole.keys() if found[p] != whole[p]}
    status = start(*command).wait(LONGEST_S)
    same = contents(folder) == whole
    print(
        f"{command[0]}, {seconds:.0f} s: {kills} kills, each leaving {min(left)} to"
        f" {max(left)} of {len(written)} files; torn: {sorted(torn) or 'none'}",
        f"  the last start: status {status}, files {'equal' if same else 'DIFFERENT'}",
        sep="\n",
        flush=True,
    )
    return same and not torn and not status


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    """Returns relative name -> bytes of all files in a folder, except partial ones."""
    files = [p for p in folder.rglob("*") if p.is_file()] if folder.exists() else []
    whole = [path for path in files if not path.name.startswith(".partial-")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in whole}


if __name__ == "__main__":
    sys.exit(main())
