"""Selects checkpoints, and reads and writes their variables and configuration."""

import contextlib
import json
import re
from typing import NamedTuple

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from encnet_jax import config as config_lib
from encnet_jax import storage
from encnet_jax.checkpoints import integrity, location, orbax, scores
from encnet_jax.errors import UserError, explained, short
from encnet_jax.storage import lookup

_ATTEMPTS = 4  # Attempts to read a checkpoint while a run removes old ones.


def parse_step(checkpoint: str | None) -> int | str | None:
    """Parses the value of --checkpoint: a step, 'best' or 'newest'.

    Returns:
        The step, 'best', or None if the value is 'newest' or missing.

    Raises:
        UserError: the value is not a step, 'best' or 'newest'.
    """
    if checkpoint in (None, "newest"):
        return None
    if checkpoint == "best":
        return checkpoint
    if not re.fullmatch("[0-9]{1,18}", checkpoint):
        raise UserError(
            f"--checkpoint is {short(checkpoint, 40)}; expected a step, 'best' or"
            " 'newest'"
        )
    return int(checkpoint)


def find_step(workdir: str, step: int | str | None = None) -> int:
    """Returns the step of a checkpoint after checking the files for damage.

    Args:
        workdir: folder of a run.
        step: a step, 'best', or None for the newest undamaged checkpoint.

    Raises:
        UserError: the checkpoint does not exist or is damaged.
    """
    folder = location.folder_of(workdir)
    location.check_present(workdir)
    steps = integrity.steps(folder)
    if not steps:
        raise UserError(f"{workdir} contains no complete checkpoint yet: train longer")
    if step is None:
        found, damaged = integrity.newest_whole(folder)
        if damaged and jax.process_index() == 0:
            print(f"skipped damaged checkpoints: {integrity.describe(damaged)}")
        if found is None:
            raise UserError(
                f"all checkpoints in {folder} are damaged"
                f" ({integrity.describe(damaged)}); restore one from a copy, or choose"
                " another --workdir"
            )
        return found
    best = step == "best"
    chosen = scores.best_step(scores.read_all(folder)) if best else step
    if chosen not in steps:
        name = str(step) if len(str(step)) < 20 else f"{str(step)[:20]}..."
        raise UserError(f"no checkpoint {name} in {workdir}; expected one of: {steps}")
    damage = integrity.find_damage(folder / str(chosen))
    if damage:
        raise UserError(
            f"checkpoint {chosen} in {workdir} is damaged: {damage}; other checkpoints:"
            f" {[other for other in steps if other != chosen] or 'none'}"
        )
    return int(chosen)  # type: ignore[arg-type]


def preferred(workdir: str) -> str | None:
    """Selects the checkpoint to use by default.

    Returns:
        'best' for the checkpoint with the best score. None for the newest checkpoint,
        if there are no scores or the checkpoint with the best score is damaged.
    """
    folder = location.folder_of(workdir)
    if not lookup.exists(folder):
        return None
    best = scores.best_step(scores.read_all(folder))
    if best is None or integrity.find_damage(folder / str(best)):
        return None
    return "best"


def describe_step(workdir: str, step: int) -> str:
    """Returns a text such as 'DIR: step 75 (best is 75 with 0.51, newest is 100)'."""
    folder = location.folder_of(workdir)
    if not lookup.exists(folder):
        return f"{workdir}: step {step}"
    scored = scores.read_all(folder)
    best = scores.best_step(scored)
    shown = "no step is scored" if best is None else f"best is {best}"
    if best is not None:
        shown += f" with {scored[best]:.4f}"
    newest = max(integrity.steps(folder), default=step)
    return f"{workdir}: step {step} ({shown}, newest is {newest})"


class Restored(NamedTuple):
    """The variables and the configuration of a checkpoint.

    Attributes:
        variables: {'params', 'batch_stats'} of NumPy arrays; 'params' are the averaged
            weights if the run averages weights.
        config: the resolved configuration.
        step: step of the checkpoint.
    """

    variables: dict
    config: ConfigDict
    step: int


def restore(workdir: str, step: int | str | None = None) -> Restored:
    """Reads the variables and the configuration of a checkpoint.

    The run may have used another number of devices. If a run in progress deletes the
    checkpoint during the read, the function selects and reads a checkpoint again, with
    at most four attempts.

    Args:
        workdir: folder of a run.
        step: a step, 'best', or None for the newest undamaged checkpoint.

    Raises:
        UserError: the checkpoint does not exist or is damaged, or its weights are NaN
            or infinite.
    """
    folder = location.folder_of(workdir)
    for _ in range(_ATTEMPTS):
        before = _names(folder)
        try:
            return _restored(workdir, find_step(workdir, step))
        # Libraries raise different errors for a file that was removed.
        except Exception:
            if _names(folder) == before:
                raise
    raise UserError(
        f"checkpoints in {folder} were replaced {_ATTEMPTS} times while they were read;"
        " wait until training ends, or save less often (train.checkpoint_every_steps)"
    )


def restore_variables(
    workdir: str, step: int | str | None = None
) -> tuple[dict, ConfigDict]:
    """Returns (variables, configuration) of a checkpoint; see `restore`."""
    restored = restore(workdir, step)
    return restored.variables, restored.config


def _names(folder: epath.Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if lookup.exists(folder) else set()


def _restored(workdir: str, step: int) -> Restored:
    folder = location.folder_of(workdir) / str(step)
    layout = orbax.layout_in_memory(folder, "variables")
    items = orbax.load(folder, {"variables": layout, "config": None})
    saved = items["variables"]
    problem = "does not contain the expected configuration and arrays"
    with explained(folder, problem, _ADVICE):
        config = ConfigDict(items["config"]).lock()
        averaged = saved.get("ema_params") is not None
        params = saved["ema_params" if averaged else "params"]
        variables = {"params": params, "batch_stats": saved["batch_stats"]}
    _check_finite(variables, f"checkpoint {step} in {workdir}")
    return Restored(variables, config, step)


_ADVICE = "restore it from a copy, or choose another --checkpoint"


def _check_finite(variables: dict, where: str) -> None:
    for path, array in jax.tree_util.tree_leaves_with_path(variables):
        wrong = np.count_nonzero(~np.isfinite(array))
        if wrong:
            raise UserError(
                f"{where}: {wrong} of {array.size} values of"
                f" {'/'.join(key.key for key in path)} are NaN or infinite; choose"
                " another --checkpoint"
            )


def save_variables(workdir: str, variables: dict, config) -> None:
    """Writes converted weights as a checkpoint at step 0, for evaluation.

    Args:
        workdir: folder for the checkpoint.
        variables: {'params', 'batch_stats'} of arrays.
        config: the resolved configuration.

    Raises:
        UserError: the workdir already contains a run or checkpoints (even damaged
            ones), or is not writable.
    """
    for name in ("config.json", "report.json"):
        if lookup.exists(epath.Path(workdir) / name):
            raise UserError(
                f"{workdir} already contains {name} of another run: choose another"
                " --workdir"
            )
    folder = location.folder_of(workdir)
    # Incomplete files of a killed save would prevent this save. Orbax removes them too,
    # but in the background, and the folder is listed below.
    for path in orbax.unfinished(folder) if lookup.exists(folder) else ():
        path.rmtree()
    writer = None
    try:
        writer = orbax.Writer(folder, integrity.seal)
        if any(name[0].isdecimal() for name in _names(folder)):
            raise UserError(
                f"{workdir} already contains checkpoints: choose another --workdir"
            )
        trees = {"variables": {**variables, "ema_params": None}}
        writer.save(0, trees, {"config": json.loads(config_lib.to_json(config))})
        writer.wait()
    except UserError:
        raise
    except Exception as error:  # Orbax and TensorStore raise errors of many types.
        reason = storage.failed_write(error)
        if reason is None:
            raise
        raise UserError(f"{folder}: {reason}") from None
    finally:
        if writer is not None:
            with contextlib.suppress(Exception):  # The write has failed already.
                writer.close()
