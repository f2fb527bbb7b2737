"""Graphs with given scores, and what can be had of small ones by enumeration."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.crf import mean_field, potentials


def given_pairs(scores, edges, offsets, height, width, row_blocks=1):
    """Returns the potentials.Pairs whose scores are [E, K, K], one for each edge."""
    num_classes = scores.shape[-1]
    edges = np.asarray(edges)
    p, q = (np.stack(np.divmod(edges[:, i], width), 1) for i in (0, 1))
    number = {tuple(o): n for n, o in enumerate(np.asarray(offsets).tolist())}
    offset = np.array([number[tuple(o)] for o in (q - p).tolist()], int)
    shape = (len(number), height, width, num_classes, num_classes)
    # An offset's scores where q is outside the map must not matter: make them large.
    dense = jnp.full(shape, 50, scores.dtype)
    dense = dense.at[offset, p[:, 0], p[:, 1]].set(scores)
    plan = potentials.schedule(offsets, height, width, row_blocks)
    padded = potentials.pad(dense, plan)
    return potentials.Pairs(_scores, padded, plan)


def _scores(dense, step, window):
    maps = jax.lax.dynamic_index_in_dim(dense, step.offset, 0)
    return potentials.take(maps, step.p, window)


def total_score(marginals, unary, relations):
    """Returns the expected score of labellings drawn from Q; of one, if one-hot."""
    # Every pair appears in the messages of both of its ends.
    pairs = mean_field.messages(marginals, relations) / 2
    return jnp.sum(marginals * (unary + pairs))


def all_scores(unary, relations):
    """Returns the scores of all K^N labellings, in the order of itertools.product."""
    num_classes, nodes = unary.shape[-1], unary[0, ..., 0].size
    labels = np.array(list(itertools.product(range(num_classes), repeat=nodes)))

    def of_one(y):
        q = jax.nn.one_hot(y, num_classes, dtype=unary.dtype).reshape(unary.shape)
        return total_score(q, unary, relations)

    return jax.lax.map(of_one, labels, batch_size=512)


def log_z(unary, relations):
    return jax.nn.logsumexp(all_scores(unary, relations))


def kl_divergence(marginals, unary, relations, log_z):
    """Returns KL(Q, P) of marginals [1, h, w, K]."""
    entropy = -jnp.sum(jax.scipy.special.xlogy(marginals, marginals))
    return log_z - entropy - total_score(marginals, unary, relations)


def marginals_one_by_one(unary, relations, num_rounds):
    """Mean field that updates one node after another, row by row: [B, h, w, K], Q.

    The KL divergence of Q from the model never increases here, unlike in
    `mean_field.log_marginals`, but every update computes the messages of the whole map.
    """
    height, width = unary.shape[1:3]

    def update(index, q):
        row, column = index // width % height, index % width
        scores = unary + mean_field.messages(q, relations)
        at = (slice(None), row, column)
        return q.at[at].set(jax.nn.softmax(scores[at], axis=-1))

    start = jax.nn.softmax(unary, axis=-1)
    return jax.lax.fori_loop(0, num_rounds * height * width, update, start)
