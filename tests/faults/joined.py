"""Runs commands as the processes of one run, and prints what each of them said.

joined.py '[["python", "train.py", ...], ["python", "train.py", ...]]'

The exit status is the largest of the processes'; every one's is printed.
"""

import json
import os
import socket
import subprocess
import sys


def main() -> int:
    """Starts all, waits for all."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    commands = json.loads(sys.argv[1])
    place = f"--coordinator_address=localhost:{port}"
    # Only process 0 would find programs in a cache, and the others wait 30 s at most.
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": ""}
    processes = [
        subprocess.Popen(
            [*words, place, f"--num_processes={len(commands)}", f"--process_id={i}"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        for i, words in enumerate(commands)
    ]
    texts = [process.communicate()[0] for process in processes]
    statuses = [
        p.returncode if p.returncode >= 0 else 128 - p.returncode for p in processes
    ]
    for i, (text, status) in enumerate(zip(texts, statuses, strict=True)):
        print(f"{text}process {i} ended with {status}")
    return max(statuses)


if __name__ == "__main__":
    sys.exit(main())
