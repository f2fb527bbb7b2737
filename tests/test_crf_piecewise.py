"""The piecewise loss: against loops, over devices, and its memory."""

from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax import losses
from encnet_jax.crf import potentials
from encnet_jax.losses import piecewise

BOX, MIB = 0.4, 1.0


def make_net(batch=2, height=4, width=5, channels=3, num_classes=3, seed=0):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    maps = (batch, height, width, channels)
    return potentials.PairwiseNet(
        normal(*maps),
        normal(*maps),
        normal(channels, num_classes**2),
        normal(num_classes**2),
    )


def pairwise_loss(net, plan, labels):
    pairs = potentials.net_pairs(net, plan)
    return piecewise.pairwise_loss(pairs, labels, ignore_label=255)


def make_labels(batch=2, height=4, width=5, num_classes=3):
    labels = np.random.default_rng(1).integers(0, num_classes, (batch, height, width))
    labels[0, 1, 2] = labels[1, 0, :2] = 255
    return labels.astype(np.uint8)


def loop_loss(net, labels, offsets):
    """The mean of -log softmax over labelled pairs, pair by pair; differentiable."""
    terms = []
    batch, height, width = labels.shape
    for b, y, x in np.ndindex(batch, height, width):
        for down, across in offsets:
            v, u = y + down, x + across
            if not (0 <= v < height and 0 <= u < width):
                continue
            if 255 in (labels[b, y, x], labels[b, v, u]):
                continue
            hidden = jax.nn.relu(net.from_p[b, y, x] + net.from_q[b, v, u])
            scores = hidden @ net.kernel + net.bias
            pair = int(labels[b, y, x]) * 3 + int(labels[b, v, u])
            terms.append(jax.nn.logsumexp(scores) - scores[pair])
    return jnp.mean(jnp.stack(terms))


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_pairwise_loss_and_gradient_equal_a_loop(rows):
    net, labels = make_net(), make_labels()
    offsets = np.array([[-1, 0], [0, 2], [1, -1]])
    plan = potentials.schedule(offsets, 4, 5, -(-4 // rows))

    def loss(net):
        return piecewise.pairwise_loss(
            potentials.net_pairs(net, plan), labels, ignore_label=255
        )

    value, gradient = jax.jit(jax.value_and_grad(loss))(net)
    with jax.disable_jit():
        expected = loop_loss(net, labels, offsets)
    wanted = jax.jit(jax.grad(partial(loop_loss, labels=labels, offsets=offsets)))(net)
    np.testing.assert_allclose(value, expected, rtol=2e-6)
    for ours, theirs in zip(gradient, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_gradients_in_bfloat16_are_added_up_in_float32():
    """Rounded once: as near to the float32 gradient as bfloat16 can be."""
    net, labels = make_net(2, 12, 12, 4), make_labels(2, 12, 12)
    half = net._replace(
        from_p=net.from_p.astype(jnp.bfloat16), from_q=net.from_q.astype(jnp.bfloat16)
    )
    exact = half._replace(
        from_p=half.from_p.astype(jnp.float32), from_q=half.from_q.astype(jnp.float32)
    )
    plan = potentials.schedule(
        potentials.neighbour_offsets("surrounding", 12, 12, 0.6), 12, 12
    )
    gradient = jax.jit(jax.grad(lambda n: 1e3 * pairwise_loss(n, plan, labels)))
    ours, wanted = gradient(half).from_p, gradient(exact).from_p
    assert ours.dtype == jnp.bfloat16
    error = jnp.abs(ours.astype(jnp.float32) - wanted).mean() / jnp.abs(wanted).mean()
    print(f"mean error {float(error):.4f}")
    assert error < 0.01


def test_terms_are_means_over_the_labelled_pieces_of_all_devices():
    net, labels = make_net(), make_labels()
    unary = jnp.asarray(np.random.default_rng(2).normal(size=(2, 4, 5, 3)), jnp.float32)
    loss_config = SimpleNamespace(unary_weight=2.0, pairwise_weight=0.5, row_blocks=1)
    crf = SimpleNamespace(box=BOX, max_score_mib=MIB)
    model = SimpleNamespace(name="piecewise_crf", align_corners=True, crf=crf)

    def loss(unary, maps, labels, axis_name=None):
        whole = net._replace(from_p=maps[0], from_q=maps[1])
        outputs = {"logits": unary, "pairwise": {"surrounding": whole}}
        return losses.network_loss(
            outputs, labels, model=model, loss=loss_config, axis_name=axis_name
        )

    maps = net.from_p, net.from_q
    total, terms = jax.jit(loss)(unary, maps, labels)
    log_p = jax.nn.log_softmax(unary)
    picked = jnp.take_along_axis(log_p, jnp.minimum(labels, 2)[..., None], -1)[..., 0]
    wanted = -jnp.mean(picked[labels != 255])
    np.testing.assert_allclose(terms["loss_unary"], wanted, rtol=1e-6)
    combined = 2.0 * terms["loss_unary"] + 0.5 * terms["loss_surrounding"]
    np.testing.assert_allclose(total, combined, rtol=1e-6)
    # One image on each of two devices, of different numbers of labelled pieces.
    spread = jax.tree.map(lambda x: x[:, None], (unary, maps, labels))
    shares, _ = jax.pmap(
        partial(loss, axis_name="batch"),
        axis_name="batch",
        devices=jax.devices()[:2],
    )(*spread)
    np.testing.assert_allclose(jnp.sum(shares), total, rtol=1e-6)


def test_images_without_labels_give_zero_and_no_nan():
    net, labels = make_net(), np.full((2, 4, 5), 255, np.uint8)

    def loss(net):
        pairs = potentials.relation_pairs("above_below", net, BOX, MIB)
        return piecewise.pairwise_loss(pairs, labels, ignore_label=255)

    value, gradient = jax.jit(jax.value_and_grad(loss))(net)
    assert value == 0
    assert all(np.all(np.asarray(g) == 0) for g in gradient)


@pytest.mark.parametrize("align_corners", [True, False])
def test_nodes_take_the_nearest_label(align_corners):
    labels = jnp.arange(7 * 10, dtype=jnp.uint8).reshape(1, 7, 10)
    ours = losses.node_labels(labels, 3, 4, align_corners)
    rows, columns = (
        ([0, 3, 6], [0, 3, 6, 9])
        if align_corners
        else (
            [1, 3, 5],  # Centres at 7/6, 7/2 and 35/6 of the edges' scale.
            [1, 3, 6, 8],
        )
    )
    np.testing.assert_array_equal(ours[0], labels[0][np.ix_(rows, columns)])


def test_scores_of_all_offsets_never_exist_together():
    """Temporary memory of value and gradient stays near that of one step."""
    net = make_net(1, 16, 16, 8, 24)
    labels = jnp.zeros((1, 16, 16), jnp.uint8)
    one_offset = potentials.score_bytes(1, 16, 16, 24)
    offsets = potentials.neighbour_offsets("surrounding", 16, 16)
    assert len(offsets) == 24

    def temporary(max_mib):
        plan = potentials.bounded_schedule(offsets, (1, 16, 16, 24), max_mib)

        def loss(net):
            return piecewise.pairwise_loss(
                potentials.net_pairs(net, plan), labels, ignore_label=255
            )

        compiled = jax.jit(jax.value_and_grad(loss)).lower(net).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    whole = temporary(one_offset / 2**20)
    quarter = temporary(one_offset / 4 / 2**20)
    assert whole < 6 * one_offset  # All together would be 24, and again as much.
    assert quarter < 0.5 * whole
