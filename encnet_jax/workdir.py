"""The folder of a run: one run at a time, one configuration for good."""

import contextlib
import fcntl
from collections.abc import Iterator

from etils import epath

from encnet_jax import config as config_lib
from encnet_jax.errors import UserError


@contextlib.contextmanager
def locked(workdir: str) -> Iterator[None]:
    """Makes the folder and holds it, so that no second run writes into it.

    Folders on object stores cannot be locked and are not.

    Raises:
        UserError: another process holds it.
    """
    path = epath.Path(workdir)
    path.mkdir(parents=True, exist_ok=True)
    if "://" in str(workdir):
        yield
        return
    with open(path / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"another run is using {workdir}: wait for it, stop it, or choose"
                " another --workdir"
            ) from None
        yield


def check_same_config(workdir: str, saved, config) -> None:
    """Refuses to go on with a run under a different configuration.

    Raises:
        UserError: names the first field that differs.
    """
    difference = config_lib.first_difference(saved, config)
    if difference:
        raise UserError(
            f"{workdir} holds a run with another configuration: {difference}; choose"
            " another --workdir to start anew"
        )


def save_config(workdir: str, config) -> None:
    """Writes WORKDIR/config.json, whole or not at all."""
    target = epath.Path(workdir) / "config.json"
    partial = epath.Path(workdir) / "config.json.partial"
    partial.write_text(config_lib.to_json(config) + "\n")
    partial.replace(target)
