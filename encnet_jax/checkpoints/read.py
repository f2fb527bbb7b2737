"""Checkpoints by step: finding them, reading and writing what evaluation needs."""

import json

import jax
import numpy as np
import orbax.checkpoint as ocp
from ml_collections import ConfigDict

from encnet_jax import config as config_lib
from encnet_jax.checkpoints import integrity
from encnet_jax.checkpoints import manager as manager_lib
from encnet_jax.errors import UserError


def find_step(workdir: str, step: int | str | None = None) -> int:
    """Returns the step meant by a number, 'best', or None (the newest whole one).

    Raises:
        UserError: no such checkpoint, or the one named is damaged.
    """
    folder = manager_lib.folder_of(workdir)
    with manager_lib.reader(workdir) as manager:
        steps = sorted(manager.all_steps())
        best = manager.best_step()
    if not steps:
        raise UserError(f"{workdir} holds no complete checkpoint: train further")
    if step is None:
        found, damaged = integrity.newest_whole(folder)
        if damaged and jax.process_index() == 0:
            print(f"skipped damaged checkpoints: {integrity.describe(damaged)}")
        if found is None:
            raise UserError(f"no checkpoint in {folder} is whole: train further")
        return found
    found = best if step == "best" else step
    if found not in steps:
        raise UserError(f"no checkpoint {step} in {workdir}; there are: {steps}")
    damage = integrity.find_damage(folder / str(found))
    if damage:
        raise UserError(
            f"checkpoint {found} in {workdir} is damaged: {damage}; choose one of:"
            f" {steps}"
        )
    return found


def restore_variables(
    workdir: str, step: int | str | None = None
) -> tuple[dict, ConfigDict]:
    """Reads what evaluation needs, on whatever devices there are.

    Args:
        workdir: of a run.
        step: a step, 'best', or None for the newest.

    Returns:
        ({'params', 'batch_stats'} of NumPy arrays, averaged weights where they were
        kept; the resolved configuration).

    Raises:
        UserError: no such checkpoint.
    """
    step = find_step(workdir, step)
    with manager_lib.reader(workdir) as manager:
        metadata = manager.item_metadata(step)["variables"].tree
        as_numpy = jax.tree.map(
            lambda _: ocp.RestoreArgs(restore_type=np.ndarray), metadata
        )
        saved = manager.restore(
            step,
            args=ocp.args.Composite(
                variables=ocp.args.PyTreeRestore(metadata, restore_args=as_numpy)
            ),
        )["variables"]
        config = manager_lib.read_config(manager, step)
    params = saved["params"] if saved.get("ema_params") is None else saved["ema_params"]
    return {"params": params, "batch_stats": saved["batch_stats"]}, config


def save_variables(workdir: str, variables: dict, config) -> None:
    """Writes a checkpoint at step 0 that evaluation takes, for converted weights.

    Raises:
        UserError: the workdir has checkpoints already.
    """
    manager = manager_lib.open_manager(workdir)
    try:
        if manager.latest_step() is not None:
            raise UserError(
                f"{workdir} has checkpoints already: choose another --workdir"
            )
        manager.save(
            0,
            args=ocp.args.Composite(
                variables=ocp.args.StandardSave({**variables, "ema_params": None}),
                config=ocp.args.JsonSave(json.loads(config_lib.to_json(config))),
            ),
        )
        manager.wait_until_finished()
    finally:
        manager.close()
