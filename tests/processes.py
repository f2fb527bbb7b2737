"""Real processes on the CPU backend, joined or alone, for the tests that need them."""

import os
import pathlib
import socket
import subprocess
import sys
import time
from typing import NamedTuple

import xla_flags

PROJECT = pathlib.Path(__file__).resolve().parent.parent
SMOKE = (
    "--config=configs/quickstart.py:smoke",
    "--config.model.head_channels=16",
    "--config.model.aux_channels=8",
    "--config.data.crop_size=32",
    "--config.eval.batch_size=6",
    "--config.eval.max_images=17",
    "--config.train.num_pictures=0",
)


class Ended(NamedTuple):
    """A process that has ended: its exit status and all it printed."""

    status: int
    text: str


def start(*command, devices: int = 1, cwd=PROJECT, **environment) -> subprocess.Popen:
    """Starts `python COMMAND` with a number of virtual CPU devices."""
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": xla_flags.quick(level=0, devices=devices),
        # Only process 0 would find its programs there, and Gloo waits 30 s at most.
        "JAX_COMPILATION_CACHE_DIR": "",
        "PYTHONPATH": str(PROJECT),
        "PYTHONUNBUFFERED": "1",
        **environment,
    }
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_joined(
    count: int, *command, devices: int = 1, **environment
) -> list[subprocess.Popen]:
    """Starts `python COMMAND` in `count` processes that find each other."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    joined = (*command, f"--coordinator_address=localhost:{port}")
    joined += (f"--num_processes={count}",)
    return [
        start(*joined, f"--process_id={i}", devices=devices, **environment)
        for i in range(count)
    ]


def finish(*processes: subprocess.Popen, timeout_s: float = 600) -> list[Ended]:
    """Waits for processes; none outlives the limit."""
    deadline = time.monotonic() + timeout_s
    try:
        texts = [
            p.communicate(timeout=deadline - time.monotonic())[0] for p in processes
        ]
    finally:
        for process in processes:
            process.kill()
    return [
        Ended(process.returncode, text)
        for process, text in zip(processes, texts, strict=True)
    ]


def succeed(*processes: subprocess.Popen) -> list[str]:
    """Waits for processes that must succeed; returns what they printed."""
    ended = finish(*processes)
    for status, text in ended:
        assert status == 0, text
    return [text for _, text in ended]


def wait_for(
    folder: pathlib.Path,
    pattern: str,
    *processes: subprocess.Popen,
    timeout_s: float = 600,
) -> None:
    """Waits until a folder holds a matching file, while all processes run."""
    deadline = time.monotonic() + timeout_s
    while not any(folder.glob(pattern)):
        ended = any(process.poll() is not None for process in processes)
        if ended or time.monotonic() > deadline:
            for process in processes:
                process.kill()
            raise AssertionError(f"no {pattern}", finish(*processes))
        time.sleep(0.05)


def read_until(process: subprocess.Popen, text: str) -> None:
    """Reads what a process prints until a text comes; the remainder stays unread."""
    seen = ""
    while text not in seen:
        piece = process.stdout.read(1)
        assert piece, seen
        seen += piece
