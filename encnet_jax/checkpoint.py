"""Checkpoints with Orbax: asynchronous, atomic, the newest ones and the best.

A checkpoint has the items `variables` (what evaluation needs), `training` (step and
optimiser state) and `config`. They lie in WORKDIR/checkpoints/STEP.
"""

import contextlib
import json
import logging
from collections.abc import Iterator

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from ml_collections import ConfigDict
from orbax.checkpoint.checkpoint_managers import (
    AnyPreservationPolicy,
    BestN,
    LatestN,
)

from encnet_jax import config as config_lib
from encnet_jax.errors import UserError
from encnet_jax.train_state import TrainState

FOLDER = "checkpoints"
SCORE = "score"


class Checkpointer:
    """Saves and restores the state of one run."""

    def __init__(self, workdir: str, keep: int):
        """Opens WORKDIR/checkpoints, which is made when the first save comes.

        Args:
            workdir: absolute or relative path, or gs://.
            keep: the newest checkpoints to keep; the best is kept besides.
        """
        newest, best = LatestN(keep), BestN(
            get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False
        )
        self._manager = _manager(
            workdir,
            preservation_policy=AnyPreservationPolicy([newest, best]),
        )

    def latest_step(self) -> int | None:
        """Returns the newest whole checkpoint's step, or None."""
        return self._manager.latest_step()

    def save(self, state: TrainState, config, score: float | None) -> None:
        """Starts writing a checkpoint; training goes on meanwhile.

        Args:
            state: replicated state after `state.step` updates.
            config: the resolved configuration.
            score: in [0, 1], what "best" compares; None if it was not evaluated.
        """
        step = int(state.step)
        if self._manager.latest_step() == step:
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                variables=ocp.args.StandardSave(_variables(state)),
                training=ocp.args.StandardSave(_training(state)),
                config=ocp.args.JsonSave(json.loads(config_lib.to_json(config))),
            ),
            metrics=None if score is None else {SCORE: float(score)},
        )

    def restore(self, state: TrainState) -> TrainState:
        """Returns the newest checkpoint's state, laid out on devices as `state` is."""
        restored = self._manager.restore(
            self._manager.latest_step(),
            args=ocp.args.Composite(
                variables=ocp.args.StandardRestore(_abstract(_variables(state))),
                training=ocp.args.StandardRestore(_abstract(_training(state))),
            ),
        )
        return TrainState(**restored["variables"], **restored["training"])

    def saved_config(self) -> ConfigDict:
        """Returns the configuration kept in the newest checkpoint."""
        return _read_config(self._manager, self._manager.latest_step())

    def best_score(self) -> float | None:
        """Returns the best score among the checkpoints kept, or None."""
        step = self._manager.best_step()
        metrics = None if step is None else self._manager.metrics(step)
        return None if not metrics else metrics[SCORE]

    def close(self) -> None:
        """Waits for writes under way; a failed background write raises here."""
        self._manager.wait_until_finished()
        self._manager.close()


def find_step(workdir: str, step: int | str | None = None) -> int:
    """Returns the step meant by a number, 'best', or None (the newest).

    Raises:
        UserError: no such checkpoint.
    """
    with _reader(workdir) as manager:
        steps = sorted(manager.all_steps())
        if not steps:
            raise UserError(f"{workdir} holds no complete checkpoint: train further")
        if step is None:
            return steps[-1]
        found = manager.best_step() if step == "best" else step
        if found not in steps:
            raise UserError(f"no checkpoint {step} in {workdir}; there are: {steps}")
        return found


def restore_variables(
    workdir: str, step: int | str | None = None
) -> tuple[dict, ConfigDict]:
    """Reads what evaluation needs, on whatever devices there are.

    Args:
        workdir: of a run.
        step: a step, 'best', or None for the newest.

    Returns:
        ({'params', 'batch_stats'} of NumPy arrays, averaged weights where they were kept;
        the resolved configuration).

    Raises:
        UserError: no such checkpoint.
    """
    step = find_step(workdir, step)
    with _reader(workdir) as manager:
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
        config = _read_config(manager, step)
    params = saved["params"] if saved.get("ema_params") is None else saved["ema_params"]
    return {"params": params, "batch_stats": saved["batch_stats"]}, config


def save_variables(workdir: str, variables: dict, config) -> None:
    """Writes a checkpoint at step 0 that evaluation takes, for converted weights.

    Raises:
        UserError: the workdir has checkpoints already.
    """
    manager = _manager(workdir)
    try:
        if manager.latest_step() is not None:
            raise UserError(f"{workdir} has checkpoints already: choose another --workdir")
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


def _manager(
    workdir: str, item_handlers: dict | None = None, **options
) -> ocp.CheckpointManager:
    # Orbax reports every file it touches at the level INFO.
    logging.getLogger("absl").setLevel(logging.ERROR)
    path = epath.Path(workdir)
    # Orbax refuses relative paths.
    path = (path if "://" in str(path) else path.resolve()) / FOLDER
    return ocp.CheckpointManager(
        path,
        options=ocp.CheckpointManagerOptions(best_fn=_score, **options),
        item_handlers=item_handlers,
    )


@contextlib.contextmanager
def _reader(workdir: str) -> Iterator[ocp.CheckpointManager]:
    if not (epath.Path(workdir) / FOLDER).exists():
        raise UserError(f"no checkpoints in {workdir}: train first, or name its --workdir")
    # Without its handlers a manager that has saved nothing knows no item's metadata.
    handlers = {
        "variables": ocp.PyTreeCheckpointHandler(),
        "config": ocp.JsonCheckpointHandler(),
    }
    manager = _manager(workdir, item_handlers=handlers, read_only=True)
    try:
        yield manager
    finally:
        manager.close()


def _score(metrics: dict) -> float:
    return metrics[SCORE]


def _read_config(manager: ocp.CheckpointManager, step: int) -> ConfigDict:
    restored = manager.restore(
        step, args=ocp.args.Composite(config=ocp.args.JsonRestore())
    )
    return ConfigDict(restored["config"]).lock()


def _variables(state: TrainState) -> dict:
    return {
        "params": state.params,
        "batch_stats": state.batch_stats,
        "ema_params": state.ema_params,
    }


def _training(state: TrainState) -> dict:
    return {"step": state.step, "opt_state": state.opt_state}


def _abstract(tree):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree
    )
