"""The piecewise loss of a CRF: each potential is normalised separately.

Training therefore needs no inference. The sum of the log-normalisers of all potentials
is at least the log-normaliser of the CRF. The sum of the losses of all potentials is
thus an upper bound of the negative log-likelihood.

Shapes: B maps of h x w nodes, K classes. Labels are uint8[B, h, w], one for each node;
nodes with `ignore_label` are not counted.

Source: piecewise training in the paper by Lin et al., see encnet_jax.crf.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.crf import potentials
from encnet_jax.crf.potentials import Pairs
from encnet_jax.fields import Field, between
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.losses import LOSSES
from encnet_jax.losses.labels import node_labels
from encnet_jax.losses.terms import Inputs, Terms


@LOSSES.register(
    "unary",
    weight="unary_weight",
    reads=("logits", "pairwise"),
    fields={
        "loss.unary_weight": Field(
            1.0, between(0, 1e6), "Weight of the unary loss of head 'piecewise_crf'."
        )
    },
)
def unary(inputs: Inputs) -> jax.Array:
    """Returns this device's contribution to the unary loss of labelled nodes."""
    scores = inputs.outputs["logits"]
    return unary_loss(scores, _at_nodes(inputs), **_shared(inputs))


@LOSSES.register(
    "pairwise",
    weight="pairwise_weight",
    reads=("logits", "pairwise"),
    fields={
        "loss.pairwise_weight": Field(
            1.0,
            between(0, 1e6),
            "Weight of the pairwise loss of each relation of head 'piecewise_crf'.",
        )
    },
)
def pairwise(inputs: Inputs) -> Terms:
    """Returns this device's contribution to the pairwise loss of each spatial relation.

    The result is {relation: contribution}. The loss of a relation is the mean over its
    pairs of labelled nodes.

    Raises:
        UserError: the scores of one row of nodes exceed model.crf.max_score_mib.
    """
    labels, crf = _at_nodes(inputs), inputs.model.crf
    terms = {}
    for relation, net in inputs.outputs["pairwise"].items():
        pairs = potentials.relation_pairs(relation, net, crf.box, crf.max_score_mib)
        terms[relation] = pairwise_loss(pairs, labels, **_shared(inputs))
    return terms


def _at_nodes(inputs: Inputs) -> jax.Array:
    height, width = inputs.outputs["logits"].shape[1:3]
    return node_labels(inputs.labels, height, width, inputs.grid["align_corners"])


def _shared(inputs: Inputs) -> dict:
    return {"ignore_label": IGNORE_LABEL, "axis_name": inputs.axis_name}


def unary_loss(
    unary: jax.Array,
    labels: jax.Array | np.ndarray,
    *,
    ignore_label: int,
    axis_name: str | None = None,
) -> jax.Array:
    """Returns this device's contribution to the unary loss.

    The loss is the mean cross-entropy of the labelled nodes of all devices.

    Args:
        unary: [B, h, w, K], unary scores (logits), at least float32.
        labels: uint8[B, h, w], labels of the nodes.
        ignore_label: label of nodes that are not counted.
        axis_name: name of the pmap axis; None for one device.

    Returns:
        float[]; 0 if no node is labelled.
    """
    valid = labels != ignore_label
    log_z = jax.nn.logsumexp(unary, axis=-1)
    picked = jnp.sum(jnp.where(_one_hot(labels, unary), unary, 0), axis=-1)
    total = jnp.sum(jnp.where(valid, log_z - picked, 0))
    return total / _count(valid, axis_name, total.dtype)


def pairwise_loss(
    pairs: Pairs,
    labels: jax.Array | np.ndarray,
    *,
    ignore_label: int,
    axis_name: str | None = None,
) -> jax.Array:
    """Returns this device's contribution to the pairwise loss of a spatial relation.

    A pair of nodes has K x K scores, one for each pair of classes. The loss is the mean
    cross-entropy of the pairs of labelled nodes, with a softmax over the K x K scores.
    To save memory, the scores are computed for a few rows of nodes at a time, also when
    a gradient is computed.

    Args:
        pairs: the pairs of a relation.
        labels: uint8[B, h, w], labels of the nodes.
        ignore_label: label of nodes whose pairs are not counted.
        axis_name: name of the pmap axis; None for one device.

    Returns:
        float[]; 0 without pairs of labelled nodes.
    """
    plan = pairs.plan
    # Padding has no labels, so that pairs with it are not counted.
    labels = potentials.pad(jnp.asarray(labels), plan, ignore_label)
    total, num_pairs = _sum_of_pairs(
        (pairs.score_fn, plan.window, ignore_label), pairs.terms, labels, plan.steps
    )
    return total / _over_devices(num_pairs, axis_name)


def _one_hot(labels, scores):
    return jax.nn.one_hot(labels, scores.shape[-1], dtype=bool)


def _count(valid, axis_name, dtype):
    return _over_devices(jnp.sum(valid).astype(dtype), axis_name)


def _over_devices(count, axis_name):
    """Sums a count over devices; returns at least 1 to avoid a division by 0."""
    if axis_name is not None:
        count = jax.lax.psum(count, axis_name)
    return jnp.maximum(count, 1)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _sum_of_pairs(fixed, terms, labels, steps):
    """Sums the cross-entropy of the pairs of labelled nodes, and counts these pairs.

    Args:
        fixed: (score_fn, window, ignore_label).
        terms, steps: see Pairs and Schedule.
        labels: padded labels of the nodes.

    Returns:
        Tuple (sum, number of pairs), each float[].
    """
    return _scan(fixed, terms, labels, steps, False)[0]


def _forward(fixed, terms, labels, steps):
    return _scan(fixed, terms, labels, steps, True)


def _backward(fixed, gradient, cotangents):
    of_total = cotangents[0]

    def scaled(g):
        return (of_total * g.astype(of_total.dtype)).astype(g.dtype)

    return jax.tree.map(scaled, gradient), None, None


_sum_of_pairs.defvjp(_forward, _backward)


def _scan(fixed, terms, labels, steps, with_gradient):
    """Computes the results of _sum_of_pairs and, if requested, the gradient of the sum.

    Returns:
        Tuple of (sum, number of pairs) and the gradient, a tree like `terms`. The
        gradient is None if `with_gradient` is False.
    """
    score_fn, window, ignore_label = fixed

    def of_step(carry, step):
        total, count, gradient = carry
        if with_gradient:
            scores, pull = jax.vjp(lambda t: score_fn(t, step, window), terms)
        else:
            scores = score_fn(terms, step, window)
        at_p, at_q = (potentials.take(labels, x, window) for x in (step.p, step.q))
        valid = (at_p != ignore_label) & (at_q != ignore_label)
        is_pair = (
            _one_hot(at_p, scores)[..., :, None] & _one_hot(at_q, scores)[..., None, :]
        )
        log_z = jax.nn.logsumexp(scores, axis=(-2, -1))
        picked = jnp.sum(jnp.where(is_pair, scores, 0), axis=(-2, -1))
        total += jnp.sum(jnp.where(valid, log_z - picked, 0))
        count += jnp.sum(valid).astype(count.dtype)
        if with_gradient:
            wide = (..., None, None)
            change = jnp.exp(scores - log_z[wide]) - is_pair.astype(scores.dtype)
            (share,) = pull(jnp.where(valid[wide], change, 0))
            gradient = jax.tree.map(lambda g, x: g + x.astype(g.dtype), gradient, share)
        return (total, count, gradient), None

    step = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), steps)
    dtype = jax.eval_shape(lambda t, s: score_fn(t, s, window), terms, step).dtype
    zero = jnp.zeros((), dtype)
    # Accumulates in at least float32, because many small terms are added.
    gradient = jax.tree.map(_wide_zeros, terms) if with_gradient else None
    (total, count, gradient), _ = jax.lax.scan(of_step, (zero, zero, gradient), steps)
    if with_gradient:
        gradient = jax.tree.map(lambda g, x: g.astype(x.dtype), gradient, terms)
    return (total, count), gradient


def _wide_zeros(x):
    return jnp.zeros(x.shape, np.promote_types(x.dtype, np.float32))
