"""The state of a training run."""

from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax


@flax.struct.dataclass
class TrainState:
    """The state of a run after `step` updates.

    Attributes:
        step: int32[], number of updates.
        params, batch_stats: parameters and batch-norm statistics of the model, float32.
        opt_state: state of the optimiser.
        ema_params: moving averages of `params`; None if the run does not average them.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    ema_params: Any = None

    @classmethod
    def create(
        cls, variables: dict, tx: optax.GradientTransformation, ema: bool
    ) -> "TrainState":
        """Returns the state before the first update.

        Args:
            variables: initial {'params', 'batch_stats'} of the model.
            tx: the optimiser.
            ema: whether to keep moving averages of the parameters.
        """
        params = variables["params"]
        return cls(
            step=jnp.zeros((), jnp.int32),
            params=params,
            batch_stats=variables.get("batch_stats", {}),
            # One compiled program: creating the arrays one by one would take a second.
            opt_state=jax.jit(tx.init)(params),
            # A copy, because one buffer cannot be donated twice.
            ema_params=jax.tree.map(jnp.copy, params) if ema else None,
        )

    def eval_variables(self) -> dict:
        """Returns the variables of the model for evaluation: {'params', 'batch_stats'}.

        If the run averages the parameters, 'params' are the moving averages.
        """
        params = self.params if self.ema_params is None else self.ema_params
        return {"params": params, "batch_stats": self.batch_stats}
