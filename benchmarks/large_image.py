"""Measures peak memory and time of labelling one very large image file.

python -m benchmarks.large_image --workdir runs/demo --side 10000
"""

import argparse
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np
from PIL import Image


def write_image(path: pathlib.Path, side: int) -> None:
    """Writes a JPEG of smooth colours; only its size affects the measurement."""
    small = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(small).resize((side, side)).save(path, quality=85)


def main():
    """Runs the measurement and prints its result as a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--scores", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        image = pathlib.Path(folder, "large.jpg")
        # In a separate process, whose memory is not counted.
        code = (
            f"from benchmarks import large_image as l; l.write_image({str(image)!r}, "
        )
        subprocess.run([sys.executable, "-c", f"{code}{args.side})"], check=True)
        command = [sys.executable, "predict.py", "--workdir", args.workdir]
        command += ["--input", image, "--output", pathlib.Path(folder, "labelled")]
        command += ["--scores"] if args.scores else []
        code = (
            "import resource, subprocess, sys; status = subprocess.call(sys.argv[1:]);"
            " print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss);"
            " sys.exit(status)"
        )
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, command)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        seconds = time.perf_counter() - start
    peak_kib = int(done.stdout.split()[-1])
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    print(
        f"{args.side}x{args.side}: peak {peak_kib / 2**20:.2f} GiB of host memory,"
        f" {seconds:.0f} s, {cpu:.0f} s of CPU time"
    )


if __name__ == "__main__":
    main()
