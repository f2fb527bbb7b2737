"""The order of examples: permutations, slices, parts of processes."""

import numpy as np
import pytest

from encnet_jax.data.pipelines import order
from encnet_jax.errors import UserError


def _indices(step, **kwargs):
    return order.batch_indices(10, 4, seed=3, step=step, **kwargs)


def test_an_epoch_has_each_example_at_most_once():
    (epoch0, first), (epoch1, second), (epoch2, third) = map(_indices, range(3))
    assert (epoch0, epoch1, epoch2) == (0, 0, 1)
    assert len(set(first) | set(second)) == 8
    assert set(third) <= set(range(10))


def test_epochs_and_seeds_differ():
    epochs = [tuple(_indices(2 * epoch)[1]) for epoch in range(6)]
    assert len(set(epochs)) == 6
    other = order.batch_indices(10, 4, seed=4, step=0)[1]
    assert tuple(other) != epochs[0]


def test_the_last_batch_can_be_kept():
    parts = [_indices(step, keep_last=True) for step in range(4)]
    assert [epoch for epoch, _ in parts] == [0, 0, 0, 1]
    assert [len(indices) for _, indices in parts] == [4, 4, 2, 4]
    shown = np.concatenate([indices for _, indices in parts[:3]])
    assert sorted(shown) == list(range(10))
    halves = [
        _indices(2, process_index=p, process_count=2, keep_last=True)[1] for p in (0, 1)
    ]
    np.testing.assert_array_equal(np.concatenate(halves), parts[2][1])
    with pytest.raises(UserError, match="has 2 images; expected a multiple of 4, the"):
        _indices(2, process_count=4, keep_last=True)


@pytest.mark.parametrize("process_count", [1, 2, 4])
def test_processes_share_the_same_global_batch(process_count):
    parts = [
        _indices(5, process_index=p, process_count=process_count)[1]
        for p in range(process_count)
    ]
    np.testing.assert_array_equal(np.concatenate(parts), _indices(5)[1])


def test_a_batch_larger_than_the_split_is_refused():
    with pytest.raises(UserError, match="train.batch_size is 11; expected 1 to 10"):
        order.batch_indices(10, 11, seed=0, step=0)
    with pytest.raises(UserError, match="multiple of 3, the number of"):
        _indices(0, process_count=3)


def test_process_shares_cover_everything_once():
    shares = [order.process_share(17, p, 3) for p in range(3)]
    assert [i for share in shares for i in share] == list(range(17))
    assert {len(share) for share in shares} == {5, 6}
