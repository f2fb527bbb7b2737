"""Mean-field inference: approximates a CRF by independent marginals Q of the nodes.

Shapes: B maps of h x w nodes, K classes. The score of a labelling y has two kinds of
summands: unary scores z_p(y_p) of nodes p, and pairwise scores s(y_p, y_q) of the pairs
(p, q) of nodes in each spatial relation.

Source: prediction in the paper (see encnet_jax.crf): three updates, starting from the
softmax of the unary scores.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from encnet_jax.crf import potentials
from encnet_jax.crf.potentials import Pairs

NUM_UPDATES = 3


def messages(marginals: jax.Array, relations: Sequence[Pairs]) -> jax.Array:
    """Returns the expected sum of pairwise scores for each class of each node.

    Args:
        marginals: [B, h, w, K], marginals Q.
        relations: the pairs (p, q) of nodes of each spatial relation, with scores s.

    Returns:
        [B, h, w, K]. A pair (p, q) adds sum_b s(a, b) Q_q(b) to each class a of node p,
        and sum_b s(b, a) Q_p(b) to each class a of node q.
    """
    total = jnp.zeros_like(marginals)
    for pairs in relations:
        total = total + _messages(marginals, pairs)
    return total


def _messages(marginals, pairs):
    plan, window = pairs.plan, pairs.plan.window
    # The padding is 0, so that pairs with a node outside the map add nothing.
    padded = potentials.pad(marginals, plan)

    def of_step(total, step):
        scores = pairs.score_fn(pairs.terms, step, window).astype(total.dtype)
        at_p = potentials.take(padded, step.p, window)
        at_q = potentials.take(padded, step.q, window)
        # With the default precision, a TPU would round the marginals to bfloat16.
        to_p = jnp.einsum("brwij,brwj->brwi", scores, at_q, precision="high")
        to_q = jnp.einsum("brwij,brwi->brwj", scores, at_p, precision="high")
        total = potentials.add(total, to_p, step.p, window)
        return potentials.add(total, to_q, step.q, window), None

    total, _ = jax.lax.scan(of_step, jnp.zeros_like(padded), plan.steps)
    return potentials.crop(total, plan)


def log_marginals(
    unary: jax.Array, relations: Sequence[Pairs], num_updates: int = NUM_UPDATES
) -> jax.Array:
    """Returns the logarithms of the marginals after `num_updates` mean-field updates.

    Each update changes the marginals of all nodes simultaneously.

    Args:
        unary: [B, h, w, K], unary scores, at least float32.
        relations: the pairs of nodes of each spatial relation, with their scores.
        num_updates: number of updates; 0: the marginals are the softmax of `unary`.

    Returns:
        [B, h, w, K], logarithms of the marginals.
    """

    def update(_, log_q):
        scores = unary + messages(jnp.exp(log_q), relations)
        return jax.nn.log_softmax(scores, axis=-1)

    return jax.lax.fori_loop(0, num_updates, update, jax.nn.log_softmax(unary, axis=-1))
