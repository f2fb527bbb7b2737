"""Connects the processes of a run; shares values and errors between processes."""

import contextlib
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils

from encnet_jax.errors import PeersMissingError, UserError

Result = TypeVar("Result")
_OF_CLUSTERS = re.compile("SLURM_|OMPI_|JAX_(COORDINATOR|NUM_PROCESSES|PROCESS_ID)")
HEARTBEAT_TIMEOUT_S = 60  # The run ends if a process does not respond for this time.
_PROBE_TIMEOUT_S = 10  # Network file systems show new files with a delay.


def join(
    coordinator_address: str | None = None,
    num_processes: int | None = None,
    process_id: int | None = None,
    *,
    timeout_s: float = 300.0,
) -> None:
    """Connects this process to the other processes of its run, if there are any.

    Must be called before other JAX functions. Pass the first three arguments or none of
    them: without these arguments, JAX detects the processes on Cloud TPU, SLURM and
    Open MPI. If other processes have not joined after `timeout_s`, this function prints
    one line and ends this process with exit status 4.

    Args:
        coordinator_address: host:port at which process 0 listens.
        num_processes: number of processes of the run.
        process_id: index of this process, from 0.
        timeout_s: time to wait for the other processes, in seconds.

    Raises:
        UserError: only some of the first three arguments are given, an argument is
            invalid, or environment variables describe a cluster incorrectly.
    """
    given = (coordinator_address, num_processes, process_id)
    _check(*given)
    try:
        with _time_limit(timeout_s, coordinator_address or "the cluster's first host"):
            jax.distributed.initialize(
                *given,
                # At JAX's own limit the process aborts (status 134): ours is shorter.
                initialization_timeout=int(timeout_s) + 60,
                heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_S,
            )
            jax.device_count()  # On TPUs this call waits for missing hosts.
    except (ValueError, KeyError, IndexError) as error:
        if isinstance(error, ValueError) and "coordinator_address" in str(error):
            return  # Neither flags nor a cluster: one process.
        raise UserError(
            "cannot join the other processes of the cluster that environment variables"
            f" describe ({type(error).__name__}: {error}); correct or unset the"
            " variables of the cluster"
            f" ({', '.join(filter(_OF_CLUSTERS.match, os.environ)) or 'none found'}),"
            " or pass --coordinator_address, --num_processes and --process_id"
        ) from None


def _check(coordinator_address, num_processes, process_id) -> None:
    flags = {
        "--coordinator_address": coordinator_address,
        "--num_processes": num_processes,
        "--process_id": process_id,
    }
    missing = [flag for flag, value in flags.items() if value is None]
    if 0 < len(missing) < len(flags):
        raise UserError(
            f"missing {', '.join(missing)}; expected all of {', '.join(flags)}, or none"
            " of them"
        )
    if missing:
        return
    host, _, port = coordinator_address.rpartition(":")
    if not host or not re.fullmatch("[0-9]{1,5}", port):
        raise UserError(
            f"--coordinator_address is {coordinator_address!r}; expected HOST:PORT, the"
            " address at which process 0 listens"
        )
    if not 0 <= process_id < num_processes:
        raise UserError(
            f"--process_id is {process_id}; expected at least 0 and less than"
            f" --num_processes, which is {num_processes}"
        )


@contextlib.contextmanager
def _time_limit(timeout_s: float, coordinator: str) -> Iterator[None]:
    timer = threading.Timer(timeout_s, _leave, [timeout_s, coordinator])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _leave(timeout_s: float, coordinator: str) -> None:
    line = (
        f"error: other processes did not join at {coordinator} within {timeout_s:g} s:"
        " start the command on every host (gcloud: --worker=all), or on one host only"
    )
    print(line, file=sys.stderr, flush=True)
    os._exit(PeersMissingError.exit_status)


def together(action: Callable[[], Result]) -> Result:
    """Runs an action in every process; if the action fails in one, all raise an error.

    Without this function, the other processes would wait until the heartbeat of the
    failed process times out.

    Args:
        action: function that is called without arguments.

    Returns:
        The action's result in this process.

    Raises:
        UserError, OSError: the action raised this error in this process.
        UserError: the action failed only in other processes; the message lists these
            processes.
    """
    failure: Exception | None = None
    result: Any = None
    try:
        result = action()
    except (UserError, OSError) as error:
        failure = error
    if jax.process_count() > 1:
        failed = multihost_utils.process_allgather(np.array(failure is not None))
        if failed.any() and failure is None:
            who = ", ".join(map(str, np.flatnonzero(failed)))
            failure = UserError(
                f"this run failed in process {who}; see the output of that process for"
                " the reason"
            )
    if failure is not None:
        raise failure
    return result


def as_process_0(answer: bool) -> bool:
    """Returns the `answer` of process 0 in every process."""
    if jax.process_count() == 1:
        return answer
    return bool(multihost_utils.broadcast_one_to_all(np.array(answer)))


def shared_number() -> int:
    """Returns a random integer, which is the same in all processes."""
    mine = np.array(secrets.randbits(31), np.int32)
    if jax.process_count() == 1:
        return int(mine)
    return int(multihost_utils.broadcast_one_to_all(mine))


def check_shared(folder: str) -> None:
    """Checks that a folder is shared by all processes, i.e. is not local to one host.

    Process 0 creates a file in the folder, and all processes look for this file.

    Raises:
        UserError: a process does not find the file.
    """
    if jax.process_count() == 1:
        return
    mine = np.array(secrets.randbits(31), np.int32)
    if jax.process_index() == 0:
        (epath.Path(folder) / f".probe-{mine}").touch()
    # The broadcast returns after process 0 has written its file.
    name = f".probe-{multihost_utils.broadcast_one_to_all(mine)}"
    path = epath.Path(folder) / name
    try:
        together(lambda: _await(path, folder))
    finally:
        if jax.process_index() == 0:
            path.unlink(missing_ok=True)


def _await(path: epath.Path, folder: str) -> None:
    deadline = time.monotonic() + _PROBE_TIMEOUT_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise UserError(
                f"process {jax.process_index()} cannot read the files that process 0"
                f" writes to {folder}; expected a folder that all hosts share:"
                " gs://BUCKET/FOLDER or a network file system"
            )
        if path.parent.exists():
            list(path.parent.iterdir())  # Refreshes the cache of a network file system.
        time.sleep(0.5)


def sum_over_processes(counts: np.ndarray) -> np.ndarray:
    """Returns the elementwise sum of `counts`, int64[...], over all processes."""
    if jax.process_count() == 1:
        return counts
    # JAX exchanges 32-bit integers, so both halves of the counts are sent.
    halves = np.stack([counts >> 24, counts & 0xFFFFFF]).astype(np.int32)
    high, low = multihost_utils.process_allgather(halves).astype(np.int64).sum(0)
    return (high << 24) + low
