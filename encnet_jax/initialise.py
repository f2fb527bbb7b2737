"""Starting weights from somewhere else than chance."""

import jax
import numpy as np

from encnet_jax import checkpoint, checkpoint_manager


def initialise(variables: dict, config) -> tuple[dict, list[str]]:
    """Replaces fresh variables by those that config.init_from holds.

    A run's folder gives every array of the same name and shape, so that a classifier
    for other classes stays fresh; a weight file gives what its family maps to.

    Args:
        variables: freshly made {'params', 'batch_stats'}.
        config: resolved configuration.

    Returns:
        (variables, lines for people: what was taken, what stays at random).

    Raises:
        UserError: nothing is there, or nothing fits.
    """
    source = config.init_from
    if checkpoint_manager.folder_of(source).exists():
        saved, _ = checkpoint.restore_variables(source)
        return take_matching(variables, saved, source)
    from encnet_jax import torch_weights

    return torch_weights.initialise(variables, source, config.model)


def take_matching(variables: dict, saved: dict, source: str) -> tuple[dict, list[str]]:
    """Replaces arrays by those of the same name and shape in `saved`."""
    flat_saved = dict(jax.tree_util.tree_leaves_with_path(saved))
    left = []

    def choose(path, fresh):
        found = flat_saved.get(path)
        if found is None or np.shape(found) != np.shape(fresh):
            left.append(jax.tree_util.keystr(path, simple=True, separator="/"))
            return fresh
        return found

    chosen = jax.tree_util.tree_map_with_path(choose, variables)
    total = len(jax.tree.leaves(variables))
    lines = [f"took {total - len(left)} of {total} arrays from {source}"]
    return chosen, lines + [f"  left at random: {name}" for name in left]
