"""Locates the folder of a run's checkpoints."""

from etils import epath

from encnet_jax import storage
from encnet_jax.errors import UserError
from encnet_jax.pods.workdir import FOLDER
from encnet_jax.storage import checks, lookup


def folder_of(workdir: str) -> epath.Path:
    """Returns the absolute path of WORKDIR/checkpoints, as required by Orbax."""
    path = epath.Path(workdir)
    if storage.is_remote(path):
        return path / FOLDER
    checks.check_for_tensorstore(path)
    return path.resolve() / FOLDER


def check_present(workdir: str) -> None:
    """Raises UserError unless a workdir contains a folder of checkpoints."""
    checks.check_reachable(workdir)
    if not lookup.exists(folder_of(workdir)):
        raise UserError(
            f"no checkpoints in {workdir}: train first, or choose another --workdir"
        )
