"""The CRFs against reference numbers by enumeration and plain loops.

Every crf_*.npz of golden/crf is read, and every group that it has; see the README
there for what the arrays mean.
"""

import os
import pathlib
import re
from functools import partial

import crf_graphs
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax.crf import dense, mean_field, potentials, pyramid
from encnet_jax.losses import piecewise

pytestmark = pytest.mark.golden

TOLERANCE = {"float64": 1e-10, "float32": 2e-5}


def _folder() -> pathlib.Path:
    here = pathlib.Path(__file__).resolve().parent.parent
    reference = os.environ.get("ENCNET_REFERENCE_DIR", here.parent / "shared")
    return pathlib.Path(reference) / "golden" / "crf"


def _groups(key: str) -> list:
    """Returns (file name, prefix) wherever a file has PREFIX:key."""
    found = []
    for path in sorted(_folder().glob("crf_*.npz")):
        with np.load(path) as arrays:
            names = sorted(n for n in arrays.files if n.endswith(f":{key}"))
        found += [pytest.param(path.name, n[: -len(key) - 1]) for n in names]
    return found


@pytest.fixture(params=["float64", "float32"])
def precision(request):
    """A dtype under which a test runs; 64 bits are switched on where needed."""
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def _load(reference_dir, name, prefix, dtype) -> dict:
    """Returns the arrays of a group without its prefix, floats in a dtype."""
    with np.load(reference_dir / "golden" / "crf" / name) as arrays:
        group = {
            n.removeprefix(f"{prefix}:"): arrays[n]
            for n in arrays.files
            if n.startswith(f"{prefix}:")
        }
    return {
        n: jnp.asarray(x, dtype) if x.dtype == np.float64 else x
        for n, x in group.items()
    }


def _check(ours, expected, dtype, what):
    """Compares within the tolerance, relative to the largest value above 1."""
    ours, expected = np.asarray(ours, np.float64), np.asarray(expected, np.float64)
    assert ours.shape == expected.shape, what
    error = np.abs(ours - expected).max() / max(1, np.abs(expected).max())
    print(f"{what}: {error:.1e}")
    assert error <= TOLERANCE[dtype], what


class _Graph:
    """A reference graph: unary scores [1, h, w, K], labels, relations by number."""

    def __init__(self, arrays):
        self.arrays = arrays
        self.unary = arrays["z"][None]
        self.height, self.width, self.num_classes = arrays["z"].shape
        self.labels = np.asarray(arrays["labels"], np.uint8)[None]
        numbers = (re.fullmatch(r"scores(\d+)", n) for n in arrays)
        self.numbers = sorted(int(m[1]) for m in numbers if m)
        self.scores = [arrays[f"scores{i}"] for i in self.numbers]

    def relations(self, scores, row_blocks=1):
        return [
            crf_graphs.given_pairs(
                s,
                self.arrays[f"edges{i}"],
                self.arrays[f"offsets{i}"],
                self.height,
                self.width,
                row_blocks,
            )
            for i, s in zip(self.numbers, scores, strict=True)
        ]


graphs = pytest.mark.parametrize(("name", "prefix"), _groups("z"))


def test_the_reference_folder_exists(reference_dir):
    assert list((reference_dir / "golden" / "crf").glob("crf_*.npz"))
    assert _groups("z") and _groups("image")


@graphs
def test_edges_follow_from_offsets(reference_dir, name, prefix):
    graph = _Graph(_load(reference_dir, name, prefix, "float32"))
    for i in graph.numbers:
        plan = potentials.schedule(
            graph.arrays[f"offsets{i}"], graph.height, graph.width
        )
        ids = np.arange(graph.height * graph.width).reshape(1, graph.height, -1)
        ids = potentials.pad(jnp.asarray(ids, jnp.int32), plan, -1)
        found = []
        for p, q in zip(plan.steps.p, plan.steps.q, strict=True):
            ends = [potentials.take(ids, x, plan.window).ravel() for x in (p, q)]
            found.append(np.stack(ends, 1)[np.asarray(ends[1]) >= 0])
        np.testing.assert_array_equal(np.concatenate(found), graph.arrays[f"edges{i}"])


@graphs
def test_exact_numbers(reference_dir, name, prefix, precision):
    graph = _Graph(_load(reference_dir, name, prefix, precision))
    labels = np.where(graph.labels == 255, 0, graph.labels)
    one_hot = jax.nn.one_hot(labels, graph.num_classes, dtype=precision)

    def log_z(unary, scores):
        return crf_graphs.log_z(unary, graph.relations(scores))

    def log_likelihood(unary, scores):
        score = crf_graphs.total_score(one_hot, unary, graph.relations(scores))
        return score - log_z(unary, scores)

    inputs, expected = (graph.unary, graph.scores), graph.arrays

    @jax.jit
    def both(*inputs):
        return [jax.value_and_grad(f, (0, 1))(*inputs) for f in (log_z, log_likelihood)]

    (value, (nodes, edges)), likelihood = both(*inputs)
    _check(value, expected["log_z"], precision, "log_z")
    nodes = nodes.reshape(-1, graph.num_classes)
    _check(nodes, expected["node_marginals"], precision, "node marginals")
    for i, ours in zip(graph.numbers, edges, strict=True):
        _check(ours, expected[f"edge_marginals{i}"], precision, f"edge marginals {i}")
    value, (by_z, by_scores) = likelihood
    _check(value, expected["log_likelihood"], precision, "log likelihood")
    by_z = by_z.reshape(-1, graph.num_classes)
    _check(by_z, expected["log_likelihood_by_z"], precision, "its gradient")
    for i, ours in zip(graph.numbers, by_scores, strict=True):
        _check(ours, expected[f"log_likelihood_by_scores{i}"], precision, "by scores")


@graphs
@pytest.mark.parametrize("row_blocks", [1, 2])
def test_piecewise_loss(reference_dir, name, prefix, precision, row_blocks):
    graph = _Graph(_load(reference_dir, name, prefix, precision))

    def losses(unary, scores):
        relations = graph.relations(scores, row_blocks)
        terms = [piecewise.unary_loss(unary, graph.labels, ignore_label=255)]
        terms += [
            piecewise.pairwise_loss(pairs, graph.labels, ignore_label=255)
            for pairs in relations
        ]
        return jnp.sum(jnp.stack(terms)), jnp.stack(terms)

    @jax.jit
    def both(*inputs):
        with_gradient = jax.value_and_grad(losses, (0, 1), has_aux=True)
        return losses(*inputs)[1], with_gradient(*inputs)

    terms, ((_, same_terms), gradients) = both(graph.unary, graph.scores)
    _check(terms, graph.arrays["piecewise"], precision, "terms")
    _check(same_terms, terms, precision, "beside the gradient")
    by_z = gradients[0].reshape(-1, graph.num_classes)
    _check(by_z, graph.arrays["piecewise_by_z"], precision, "by z")
    for i, ours in zip(graph.numbers, gradients[1], strict=True):
        _check(ours, graph.arrays[f"piecewise_by_scores{i}"], precision, "by scores")


@graphs
def test_normalisers_of_pieces(reference_dir, name, prefix, precision):
    """The loss's own normalisers: with every label, their sum is what it adds up."""
    graph = _Graph(_load(reference_dir, name, prefix, precision))
    labels = np.where(graph.labels == 255, 0, graph.labels)

    @jax.jit
    def log_z_of_pieces(unary, scores):
        relations = graph.relations(scores)
        pieces = piecewise.unary_loss(unary, labels, ignore_label=255) * labels.size
        for pairs, s in zip(relations, scores, strict=True):
            pieces += piecewise.pairwise_loss(pairs, labels, ignore_label=255) * len(s)
        one_hot = jax.nn.one_hot(labels, graph.num_classes, dtype=precision)
        return pieces + crf_graphs.total_score(one_hot, unary, relations)

    expected = graph.arrays["log_z_of_pieces"]
    ours = log_z_of_pieces(graph.unary, graph.scores)
    _check(ours, expected, precision, "log Z of pieces")
    assert float(expected) >= float(graph.arrays["log_z"])


@graphs
def test_mean_field(reference_dir, name, prefix, precision):
    graph = _Graph(_load(reference_dir, name, prefix, precision))
    relations = graph.relations(graph.scores, row_blocks=2)

    @jax.jit
    def marginals(num_updates):
        log_q = mean_field.log_marginals(graph.unary, relations, num_updates)
        q = jnp.exp(log_q)
        kl = crf_graphs.kl_divergence(q, graph.unary, relations, graph.arrays["log_z"])
        return q.reshape(-1, graph.num_classes), kl

    found = [marginals(n) for n in range(len(graph.arrays["mean_field"]))]
    q, kl = (np.stack(x) for x in zip(*found, strict=True))
    _check(q, graph.arrays["mean_field"], precision, "at once")
    _check(kl, graph.arrays["kl_at_once"], precision, "KL at once")


@graphs
def test_mean_field_with_alternating_updates(reference_dir, name, prefix, precision):
    graph = _Graph(_load(reference_dir, name, prefix, precision))
    relations = graph.relations(graph.scores)

    @jax.jit
    def marginals(num_rounds):
        q = crf_graphs.marginals_one_by_one(graph.unary, relations, num_rounds)
        kl = crf_graphs.kl_divergence(q, graph.unary, relations, graph.arrays["log_z"])
        return q.reshape(-1, graph.num_classes), kl

    expected = graph.arrays["mean_field_in_turn"]
    found = [marginals(n) for n in range(len(expected))]
    q, kl = (np.stack(x) for x in zip(*found, strict=True))
    _check(q, expected, precision, "in turn")
    _check(kl, graph.arrays["kl_in_turn"], precision, "KL in turn")


@pytest.mark.parametrize(("name", "prefix"), _groups("w1"))
def test_pairwise_net(reference_dir, name, prefix, precision):
    net = _load(reference_dir, name, prefix, precision)
    height, width, channels = net["x"].shape
    first = net["w1"][:channels], net["w1"][channels:]
    plan = potentials.schedule(net["offsets"], height, width)
    pairs = potentials.net_pairs(
        potentials.PairwiseNet(
            (net["x"] @ first[0] + net["b1"][None, None])[None],
            (net["x"] @ first[1])[None],
            net["w2"],
            net["b2"],
        ),
        plan,
    )
    of_step = partial(potentials.net_scores, window=plan.window)
    scores = jax.lax.map(lambda step: of_step(pairs.terms, step), plan.steps)
    scores = scores.reshape(len(scores), height * width, *scores.shape[-2:])
    ours, done = [], 0
    for (down, across), of_offset in zip(net["offsets"], scores, strict=True):
        p = [
            y * width + x
            for y in range(height)
            for x in range(width)
            if 0 <= y + down < height and 0 <= x + across < width
        ]
        assert p == net["edges"][done : done + len(p), 0].tolist()
        done += len(p)
        ours.append(of_offset[np.array(p)])
    _check(jnp.concatenate(ours), net["scores"], precision, "scores")


@pytest.mark.parametrize(("name", "prefix"), _groups("windows"))
def test_pyramid(reference_dir, name, prefix, precision):
    arrays = _load(reference_dir, name, prefix, precision)
    windows = tuple(int(w) for w in arrays["windows"])
    ours = pyramid.sliding_maxima(arrays["x"][None], windows)[0]
    np.testing.assert_array_equal(ours, arrays["y"])


@pytest.mark.parametrize(("name", "prefix"), _groups("image"))
def test_dense_refinement(reference_dir, name, prefix, precision):
    arrays = _load(reference_dir, name, prefix, precision)
    iterations = int(arrays["iterations"])
    after = jnp.stack([_refined(arrays, n) for n in (0, 1, 2, iterations)])
    _check(after, arrays["after_0_1_2_n"], precision, prefix)


# The number of updates is traced: one program serves them all.
_refine = jax.jit(dense.refine, static_argnames="radius")


def _refined(arrays, iterations: int):
    return _refine(
        arrays["probabilities"],
        arrays["image"],
        dense.DenseParams(*arrays["parameters"].tolist()),
        radius=int(arrays["radius"]),
        iterations=iterations,
    )


def test_dense_refinement_agrees_with_a_library(reference_dir):
    """Its filter is an approximation: as close to the exact sums as the README says."""
    with np.load(reference_dir / "golden" / "crf" / "dense_library.npz") as arrays:
        library = dict(arrays)
    arrays = _load(reference_dir, "crf_shared.npz", "dense", "float32")
    ours = _refined(arrays, int(library["iterations"]))
    difference = np.abs(np.asarray(ours) - library["q"])
    assert difference.mean() < 0.002 and difference.max() < 0.11
    same = ours.argmax(-1) == library["q"].argmax(-1)
    assert np.mean(same) > 0.998
