"""Starts several processes on this machine that form one run."""

import argparse
import json
import os
import socket
import subprocess
import sys


def parser(doc: str, counts: str) -> argparse.ArgumentParser:
    """Returns the flag parser of a benchmark that runs itself in joined processes."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--counts", default=counts, help="of processes")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--coordinator_address", help=argparse.SUPPRESS)
    parser.add_argument("--num_processes", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--process_id", type=int, help=argparse.SUPPRESS)
    return parser


def joining_flags(count: int) -> list[list[str]]:
    """Returns, for each process, the flags that connect it to the others."""
    if count == 1:
        return [[]]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    common = [f"--coordinator_address={address}", f"--num_processes={count}"]
    return [[*common, f"--process_id={i}"] for i in range(count)]


def run(module: str, count: int, *flags: str) -> dict:
    """Runs `python -m MODULE FLAGS --child` in joined processes on CPUs.

    Returns:
        The JSON value in the last line that process 0 prints.
    """
    command = [sys.executable, "-m", module, *flags, "--child"]
    processes = [
        subprocess.Popen(
            [*command, *joining],
            stdout=subprocess.PIPE,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            text=True,
        )
        for joining in joining_flags(count)
    ]
    texts = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise SystemExit(f"one of {count} processes failed; see its output above")
    return json.loads(texts[0].splitlines()[-1])
