"""train.freeze: a backbone that stays as it is, statistics and all."""

import jax
import numpy as np
from test_train import prepare, random_batch

from encnet_jax.pods import parallel
from encnet_jax.train.step import parallel_step


def test_a_linear_probe_changes_the_head_alone():
    config, parts = prepare("batch", **{"train.freeze": "backbone"})
    state = parts.state
    assert config.optim.frozen == ("backbone",)
    before = jax.tree.map(np.asarray, (state.params, state.batch_stats))
    step = parallel_step(parts.model, parts.tx, parts.task, config)
    state, _ = step(parallel.replicate(state), parallel.shard(random_batch(8)))
    after = jax.tree.map(np.asarray, (state.params, state.batch_stats))
    for old, new in zip(before, after, strict=True):
        jax.tree.map(np.testing.assert_array_equal, old["backbone"], new["backbone"])
        pairs = zip(jax.tree.leaves(old), jax.tree.leaves(new), strict=True)
        assert not all(np.array_equal(x, y) for x, y in pairs)
