"""Mean field beside exact marginals on graphs that are small enough to enumerate."""

import crf_graphs
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax.crf import mean_field
from encnet_jax.losses import piecewise


def edges_of(offsets, height, width):
    return np.array(
        [
            (y * width + x, (y + down) * width + x + across)
            for down, across in offsets
            for y in range(height)
            for x in range(width)
            if 0 <= y + down < height and 0 <= x + across < width
        ]
    )


def make_graph(height, width, offsets, num_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    edges = edges_of(offsets, height, width)
    unary = rng.normal(size=(1, height, width, num_classes))
    scores = 1.5 * rng.normal(size=(len(edges), num_classes, num_classes))
    unary, scores = (jnp.asarray(x, jnp.float32) for x in (unary, scores))
    return unary, scores, edges


def relations_of(scores, edges, offsets, height, width):
    return [crf_graphs.given_pairs(scores, edges, offsets, height, width)]


def chain_marginals(unary, scores):
    """Belief propagation along a row: exact node marginals [N, K]."""
    z = np.asarray(unary, np.float64)[0, 0]
    s = np.asarray(scores, np.float64)
    forward, backward = [np.exp(z[0])], [np.ones(z.shape[1])]
    for i in range(1, len(z)):
        forward.append(np.exp(z[i]) * (np.exp(s[i - 1]).T @ forward[-1]))
    for i in range(len(z) - 1, 0, -1):
        backward.append(np.exp(s[i - 1]) @ (np.exp(z[i]) * backward[-1]))
    belief = np.stack(forward) * np.stack(backward[::-1])
    return belief / belief.sum(1, keepdims=True)


def test_mean_field_on_a_tree_approximates_exact_marginals():
    """Enumeration and belief propagation agree; mean field comes near, not to them."""
    offsets = [(0, 1)]
    unary, scores, edges = make_graph(1, 6, offsets)

    @jax.jit
    def both(unary, scores):
        def log_z(unary):
            relations = relations_of(scores, edges, offsets, 1, 6)
            return crf_graphs.log_z(unary, relations)

        value, exact = jax.value_and_grad(log_z)(unary)
        relations = relations_of(scores, edges, offsets, 1, 6)
        q = jnp.exp(mean_field.log_marginals(unary, relations, 50))
        kl = crf_graphs.kl_divergence(q, unary, relations, value)
        return exact[0, 0], q[0, 0], kl

    exact, q, kl = both(unary, scores)
    np.testing.assert_allclose(exact, chain_marginals(unary, scores), atol=2e-6)
    start = jax.nn.softmax(unary)[0, 0]
    print("node: exact, mean field\n", np.concatenate([exact, q], 1).round(3))
    error, error_before = (float(jnp.abs(x - exact).mean()) for x in (q, start))
    print(f"mean error {error:.3f}, of softmax(z) {error_before:.3f}; KL {kl:.3f}")
    assert 0.01 < error < 0.7 * error_before
    assert kl > 0.01


@pytest.mark.parametrize("seed", [0, 1])
def test_the_divergence_never_rises_where_nodes_take_turns(seed):
    offsets = [(-1, 0), (0, 1), (1, 1)]
    unary, scores, edges = make_graph(2, 3, offsets, seed=seed)
    relations = relations_of(scores, edges, offsets, 2, 3)
    log_z = jax.jit(lambda: crf_graphs.log_z(unary, relations))()

    @jax.jit
    def divergence(num_rounds):
        q = crf_graphs.marginals_one_by_one(unary, relations, num_rounds)
        return crf_graphs.kl_divergence(q, unary, relations, log_z)

    kl = np.array([divergence(n) for n in range(8)])
    assert np.all(np.diff(kl) <= 1e-5)
    assert 0 <= kl[-1] < kl[0] - 0.5


def test_the_pieces_bound_the_likelihood():
    """Normalising pieces by themselves gives no less than the model's own loss."""
    offsets = [(-1, 0), (0, 1)]
    for seed in range(3):
        unary, scores, edges = make_graph(2, 3, offsets, seed=seed)
        labels = np.random.default_rng(seed).integers(0, 3, (1, 2, 3)).astype(np.uint8)

        @jax.jit
        def both(unary, scores, labels):
            relations = relations_of(scores, edges, offsets, 2, 3)  # noqa: B023
            pieces = piecewise.unary_loss(unary, labels, ignore_label=255) * 6
            pieces += piecewise.pairwise_loss(
                relations[0], labels, ignore_label=255
            ) * len(scores)
            one_hot = jax.nn.one_hot(labels, 3)
            score = crf_graphs.total_score(one_hot, unary, relations)
            return pieces, crf_graphs.log_z(unary, relations) - score

        pieces, exact = both(unary, scores, labels)
        assert pieces > exact + 0.1
