"""Computes the scores of pairs of CRF nodes, for a few rows of nodes at a time.

Notation: B maps of h x w nodes, K classes, C channels of the pairwise network, D
offsets. The pairs (p, q) of an offset are all nodes p and q = p + offset inside the
map. The scores s(y_p, y_q) of these pairs form an array [B, h, w, K, K], whose axes h
and w are the position of p. Only some rows of this array exist at a time. The potential
V of the paper (see encnet_jax.crf) is -s.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from encnet_jax.errors import UserError

RELATIONS = ("surrounding", "above_below")
_GRID = 5  # Neighbours lie on a grid of 5 x 5 positions in the range box.


def neighbour_offsets(
    relation: str, height: int, width: int, box: float = 0.4
) -> np.ndarray:
    """Returns the offsets from a node to its neighbours.

    The neighbours lie in a square, the range box, on a grid of 5 x 5 positions.

    Args:
        relation: 'surrounding': the box is centred on the node; 'above_below': the box
            is strictly above the node.
        height, width: size of the map, in nodes.
        box: side length of the range box, as a fraction of min(height, width). A box
            that would be smaller than 2 nodes is enlarged to 2 nodes.

    Returns:
        int32[D, 2] of (rows, columns), sorted by row. D is 24 ('surrounding') or 25
        ('above_below'), or less if several grid positions round to the same node.

    Source: the range box of the paper.
    """
    side = max(box * min(height, width), 2)
    across = _rounded(np.linspace(-side / 2, side / 2, _GRID))
    down = across
    if relation == "above_below":
        down = _rounded(np.linspace(-side, -side / _GRID, _GRID))
        down = [min(y, -1) for y in down]
    found = {(y, x) for y in down for x in across} - {(0, 0)}
    return np.asarray(sorted(found), np.int32)


def _rounded(positions: np.ndarray) -> list[int]:
    """Rounds to integers, halves away from 0, so that the results stay symmetric."""
    return [int(math.copysign(math.floor(abs(x) + 0.5), x)) for x in positions]


class Step(NamedTuple):
    """One step of a scan over pairs of nodes: one offset and one block of rows.

    The nodes p of the pairs form a rectangular window, and so do the nodes q.

    Attributes:
        offset: int32[], index of the offset.
        p, q: int32[2], row and column of the top left node of the window of nodes p
            and of the window of nodes q, in padded maps.
    """

    offset: jax.Array | np.ndarray
    p: jax.Array | np.ndarray
    q: jax.Array | np.ndarray


class Schedule(NamedTuple):
    """The steps of a scan over pairs of nodes, one for each offset and block of rows.

    Attributes:
        steps: all steps as one Step, in which each array has an additional first axis
            whose length is the number of steps.
        window: (rows, columns), size of the window of nodes that a step processes.
        padding: ((above, below), (left, right)), number of rows and columns by which
            maps must be padded to contain all windows.
    """

    steps: Step
    window: tuple[int, int]
    padding: tuple[tuple[int, int], tuple[int, int]]


def schedule(
    offsets: np.ndarray, height: int, width: int, row_blocks: int = 1
) -> Schedule:
    """Returns the schedule of a scan over the pairs of nodes with given offsets.

    Args:
        offsets: int[D, 2] of (rows, columns) from node p to node q.
        height, width: size of the map, in nodes.
        row_blocks: number of blocks of rows; need not divide height.
    """
    offsets = np.asarray(offsets, np.int32).reshape(-1, 2)
    rows = -(-height // row_blocks)
    starts = np.arange(0, height, rows, dtype=np.int32)
    reach = np.abs(offsets).max(axis=0, initial=0)
    beyond = len(starts) * rows - height
    number, start = np.meshgrid(np.arange(len(offsets)), starts, indexing="ij")
    p = np.stack([start.ravel(), np.zeros(start.size, int)], axis=1) + reach
    q = p + offsets[number.ravel()]
    return Schedule(
        Step(number.ravel().astype(np.int32), p.astype(np.int32), q.astype(np.int32)),
        (rows, width),
        ((int(reach[0]), int(reach[0] + beyond)), (int(reach[1]), int(reach[1]))),
    )


def score_bytes(batch: int, rows: int, width: int, num_classes: int) -> int:
    """Returns the size in bytes of the float32 scores of one step.

    Args:
        batch: number of maps.
        rows, width: number of rows of nodes in a step, and of nodes per row.
        num_classes: number of classes; a pair of nodes has num_classes**2 scores.
    """
    return 4 * batch * rows * width * num_classes**2


def bounded_schedule(
    offsets: np.ndarray,
    shape: tuple[int, int, int, int],
    max_mib: float,
) -> Schedule:
    """Returns the schedule with the fewest steps whose scores fit a memory limit.

    Args:
        offsets: int[D, 2] of (rows, columns) from node p to node q.
        shape: (B, h, w, K): number of maps, height, width and number of classes. A
            symbolic B, as in exported programs, counts as 1.
        max_mib: limit for the scores of one step in MiB (model.crf.max_score_mib).

    Raises:
        UserError: the scores of one row of nodes exceed the limit.
    """
    batch, height, width, num_classes = shape
    batch = batch if isinstance(batch, int) else 1
    row = score_bytes(batch, 1, width, num_classes)
    rows = int(max_mib * 2**20 // row)
    if rows < 1:
        raise UserError(
            f"the CRF's pairwise scores of one row of {width} nodes take"
            f" {row / 2**20:.1f} MiB ({batch} images, {num_classes} x {num_classes}"
            f" classes); expected at most {max_mib:g} MiB: lower train.batch_size or"
            " eval.batch_size, or raise model.crf.max_score_mib"
        )
    return schedule(offsets, height, width, -(-height // rows))


def pad(x: jax.Array | np.ndarray, plan: Schedule, value=0) -> jax.Array:
    """Pads maps [B, h, w, ...] with `value`, as the schedule `plan` requires."""
    widths = ((0, 0), *plan.padding) + ((0, 0),) * (x.ndim - 3)
    return jnp.pad(x, widths, constant_values=value)


def crop(x: jax.Array, plan: Schedule) -> jax.Array:
    """Removes the padding that `pad` added."""
    (above, below), (left, right) = plan.padding
    return x[:, above : x.shape[1] - below, left : x.shape[2] - right]


def take(
    x: jax.Array, start: jax.typing.ArrayLike, window: tuple[int, int]
) -> jax.Array:
    """Returns a window of padded maps.

    Args:
        x: padded maps [B, H, W, ...].
        start: int32[2], first row and column of the window.
        window: (rows, columns) of the window.

    Returns:
        [B, rows, columns, ...].
    """
    sizes = (x.shape[0], *window, *x.shape[3:])
    return jax.lax.dynamic_slice(x, _starts(x, start), sizes)


def add(
    x: jax.Array, update: jax.Array, start: jax.Array, window: tuple[int, int]
) -> jax.Array:
    """Adds values to a window of padded maps and returns the new maps.

    Args:
        x: padded maps [B, H, W, ...].
        update: [B, rows, columns, ...], values to add.
        start, window: see take.
    """
    update = take(x, start, window) + update
    return jax.lax.dynamic_update_slice(x, update, _starts(x, start))


def _starts(x, start):
    zero = jnp.zeros(
        (), jnp.int32
    )  # With 64-bit types enabled, a Python 0 would have another dtype than `start`.
    return (zero, start[0], start[1]) + (zero,) * (x.ndim - 3)


class PairwiseNet(NamedTuple):
    """Arrays from which a pairwise network computes the scores of pairs of nodes.

    For nodes p and q with features x_p and x_q, the scores of all pairs of classes are

        relu(W_a x_p + W_b x_q + b1) W2 + b2

    Attributes:
        from_p: [B, h, w, C], W_a x + b1 for every node.
        from_q: [B, h, w, C], W_b x for every node.
        kernel: [C, K * K], W2; column i * K + j is for class i of p and class j of q.
        bias: [K * K], b2.
    """

    from_p: jax.Array
    from_q: jax.Array
    kernel: jax.Array
    bias: jax.Array


class Pairs(NamedTuple):
    """Pairs (p, q) of neighbouring nodes, and a function that computes their scores.

    Attributes:
        score_fn: function (terms, step, window) that returns the scores of the pairs of
            one Step, [B, rows, columns, K, K]; (rows, columns) is `window`.
        terms: arrays for score_fn, padded as the schedule requires.
        plan: Schedule of the scan over all pairs.
    """

    score_fn: Callable
    terms: object
    plan: Schedule


def net_pairs(net: PairwiseNet, plan: Schedule) -> Pairs:
    """Returns the pairs of nodes of a schedule, with scores from a pairwise network.

    Args:
        net: arrays of the network, not padded.
        plan: schedule of the scan over the pairs.
    """
    padded = net._replace(from_p=pad(net.from_p, plan), from_q=pad(net.from_q, plan))
    return Pairs(net_scores, padded, plan)


def net_scores(net: PairwiseNet, step: Step, window: tuple[int, int]) -> jax.Array:
    """Returns the scores of the pairs of one step, [B, rows, columns, K, K].

    Scores are computed in at least float32.

    Args:
        net: arrays of the pairwise network, padded.
        step: the step.
        window: (rows, columns) of nodes that a step processes.

    Source: the pairwise potential of the paper: the concatenated features of two
    nodes are the input of a network with one output per pair of classes.
    """
    hidden = jax.nn.relu(
        take(net.from_p, step.p, window) + take(net.from_q, step.q, window)
    )
    num_classes = math.isqrt(net.bias.size)
    scores = jnp.einsum(
        "brwc,ck->brwk",
        hidden,
        net.kernel.astype(hidden.dtype),
        preferred_element_type=np.promote_types(hidden.dtype, np.float32),
    )
    scores = scores + net.bias.astype(scores.dtype).reshape(1, 1, 1, -1)
    return scores.reshape(*scores.shape[:3], num_classes, num_classes)


def relation_pairs(
    relation: str, net: PairwiseNet, box: float, max_score_mib: float
) -> Pairs:
    """Returns all pairs of nodes of a feature map that are in a spatial relation.

    Args:
        relation, box: see neighbour_offsets.
        net: arrays of the pairwise network, not padded; used for the pairs' scores.
        max_score_mib: limit for the scores of one step in MiB; see bounded_schedule.

    Raises:
        UserError: the scores of one row of nodes exceed max_score_mib.
    """
    batch, height, width = net.from_p.shape[:3]
    # In an exported program, the number of images is symbolic and counts as 1.
    batch = batch if isinstance(batch, int) else 1
    offsets = neighbour_offsets(relation, height, width, box)
    shape = (batch, height, width, math.isqrt(net.bias.size))
    return net_pairs(net, bounded_schedule(offsets, shape, max_score_mib))
