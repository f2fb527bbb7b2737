"""Processes of one machine that train together."""

import socket


def joining_flags(count: int) -> list[list[str]]:
    """Returns the flags of each process by which they find each other."""
    if count == 1:
        return [[]]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    common = [f"--coordinator_address={address}", f"--num_processes={count}"]
    return [[*common, f"--process_id={i}"] for i in range(count)]
