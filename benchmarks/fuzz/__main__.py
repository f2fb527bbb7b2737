"""Damages thousands of files, reads each with every reader, and reports bad errors.

python -m benchmarks.fuzz --files 20000 --seed 0

A reader must either return or raise UserError with one line that names the file. Any
other outcome is printed and counted as an escape; the exit status is then 1. Files:
images and masks of all formats, .npz, .safetensors, .params, .pth, prepared records,
JSON lists; exported folders, reports, scores of images and of checkpoints, tables of
starts, CRF parameters, plans, TensorBoard files.
"""

import argparse
import collections
import pathlib
import sys
import tempfile
import time

from benchmarks.fuzz.escapes import escapes, prepared_escapes


def main() -> int:
    """Prints the counts; returns 1 if there were escapes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--prepared", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    counts, began = collections.Counter(), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for make, number in ((escapes, args.files), (prepared_escapes, args.prepared)):
            for kind, outcome, _ in make(number, args.seed, folder):
                counts[kind, outcome] += 1
    bad = {key: n for key, n in counts.items() if key[1] not in ("read", "refused")}
    for (kind, outcome), number in sorted(counts.items()):
        print(f"{kind:<14} {number:>7} {outcome}")
    total = args.files + args.prepared
    print(
        f"{total} files, {sum(counts.values())} readings, {sum(bad.values())} escapes"
    )
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
