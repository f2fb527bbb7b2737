"""Estimates the time of an all-reduce from the speed of the links between TPU chips.

The time has two terms: the bytes divided by the speed of the links, and a fixed time
per hop. Nothing is measured. The start-up of an all-reduce, additions and congestion
are neglected, so every estimate is a lower bound.
"""

from typing import NamedTuple

HOP_S = 1e-6  # Latency between neighbours: "How to Scale Your Model", chapter 2.
BETWEEN_SLICES_S = 50e-6  # Latency of the data centre's network; assumed.


class Network(NamedTuple):
    """The network between TPU chips of one generation.

    Attributes:
        axes: number of axes of the torus in which chips are connected.
        link_bytes_per_s: speed of one link in one direction; a chip has two links per
            axis.
        wraps_at: smallest number of chips of an axis that is a ring, i.e. whose first
            and last chip are connected.
        largest_slice: largest number of chips connected by links.
        between_bytes_per_s: network speed between slices, per chip.
        chips_per_host: number of chips of a host machine.
    """

    axes: int
    link_bytes_per_s: float
    wraps_at: int
    largest_slice: int
    between_bytes_per_s: float
    chips_per_host: int


# Source: cloud.google.com/tpu/docs, one page per generation. The speed of a link is the
# published all-reduce bandwidth of a pod, divided by the number of chips and of links
# per chip (v4: 1.1 PB/s, 4096 chips, 6 links). The speed between slices is the network
# bandwidth of a pod, divided by the number of chips; v4 needs it only above 4096 chips.
NETWORKS = {
    "v4": Network(3, 45e9, 4, 4096, 3.1e9, 4),
    "v5e": Network(2, 50e9, 16, 256, 3.1e9, 4),
    "v5p": Network(3, 100e9, 4, 6144, 6.2e9, 4),
    "v6e": Network(2, 100e9, 16, 256, 12.5e9, 4),
}


def slice_shape(chips: int, axes: int) -> tuple[int, ...]:
    """Returns the most compact shape of a slice, with the longest axis last.

    Args:
        chips: number of chips of the slice.
        axes: number of axes of the shape.

    Raises:
        ValueError: the number of chips is not a power of two.
    """
    if chips < 1 or chips & (chips - 1):
        raise ValueError(f"the slice has {chips} chips; expected a power of two")
    sides = [1] * axes
    for i in range(chips.bit_length() - 1):
        sides[-1 - i % axes] *= 2
    return tuple(sides)


def all_reduce_seconds(num_bytes: float, chips: int, network: Network) -> float:
    """Returns a lower bound on the time of an all-reduce, in seconds.

    The all-reduce is modelled as a reduce-scatter and an all-gather along all axes at
    once. An axis whose first and last chip are connected is a ring and transfers data
    in both directions; any other axis is half as fast.

    Args:
        num_bytes: size of the array on each chip, in bytes.
        chips: number of neighbouring chips, a power of two. More chips than
            network.largest_slice form several slices.
        network: the network of the chips.
    """
    within = min(chips, network.largest_slice)
    seconds = 0.0
    if within > 1:
        sides = slice_shape(within, network.axes)
        # In 3D, ends are connected only if all sides are multiples of a cube's side.
        whole = network.axes == 2 or min(sides) >= network.wraps_at
        joined = [whole and side >= network.wraps_at for side in sides]
        axes = [axis for axis in zip(sides, joined, strict=True) if axis[0] > 1]
        ways = sum(2 if wraps else 1 for _, wraps in axes)
        hops = sum(side // 2 if wraps else side - 1 for side, wraps in axes)
        moved = num_bytes * (within - 1) / within
        seconds += 2 * (moved / (ways * network.link_bytes_per_s) + hops * HOP_S)
    slices = -(-chips // network.largest_slice)
    if slices > 1:
        moved = num_bytes / within * (slices - 1) / slices
        seconds += 2 * (moved / network.between_bytes_per_s + BETWEEN_SLICES_S)
    return seconds
