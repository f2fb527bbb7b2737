"""Runs a command beside an object store on this machine that fails in a chosen way.

bucket.py [--upload FOLDER] [--rights-until N] [--failing SHARE] [--slow SECONDS] ...

The store has one bucket, gs://bucket. --upload copies a folder to gs://bucket/up. After
N written objects every write is refused (403); a share of the requests fails (503), or
all are slow.
"""

import argparse
import os
import pathlib
import random
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import fake_gcs


def main() -> int:
    """Starts the store, runs the command, returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upload")
    parser.add_argument("--rights-until", type=int)
    parser.add_argument("--failing", type=float, default=0.0)
    parser.add_argument("--slow", type=float, default=0.0)
    parser.add_argument("words", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    chance, written = random.Random(0), 0

    def refusal(method: str) -> int | None:
        nonlocal written
        time.sleep(args.slow)
        if chance.random() < args.failing:
            return 503
        written += method != "GET"
        if args.rights_until is not None and written > args.rights_until:
            return 403 if method != "GET" else None
        return None

    with fake_gcs.Server() as server:
        server.buckets.add("bucket")
        if args.upload:
            server.upload(args.upload, "gs://bucket/up")
        server.refusal = refusal
        environment = os.environ | server.environment
        return subprocess.run(args.words, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
