"""Offsets of the relations, and scans whose steps fit."""

import numpy as np
import pytest

from encnet_jax.crf import potentials
from encnet_jax.errors import UserError


def test_surrounding_neighbours_form_a_grid_over_the_box():
    offsets = potentials.neighbour_offsets("surrounding", 60, 80)
    grid = (-12, -6, 0, 6, 12)  # 0.4 * 60 nodes wide.
    wanted = [(y, x) for y in grid for x in grid if (y, x) != (0, 0)]
    assert offsets.tolist() == [list(o) for o in wanted]


def test_neighbours_above_are_strictly_above():
    offsets = potentials.neighbour_offsets("above_below", 80, 50)
    rows, columns = (-20, -16, -12, -8, -4), (-10, -5, 0, 5, 10)
    assert offsets.tolist() == [[y, x] for y in rows for x in columns]


@pytest.mark.parametrize("side", [1, 3, 5])
def test_small_maps_keep_their_nearest_neighbours(side):
    found = potentials.neighbour_offsets("surrounding", side, 9).tolist()
    around = [[y, x] for y in (-1, 0, 1) for x in (-1, 0, 1) if (y, x) != (0, 0)]
    assert found == around
    above = potentials.neighbour_offsets("above_below", side, 9).tolist()
    assert [-1, 0] in above and all(y < 0 for y, _ in above)


def test_steps_have_as_many_rows_as_the_limit_allows():
    offsets = potentials.neighbour_offsets("surrounding", 60, 60)
    shape = (2, 60, 60, 150)
    row = 4 * 2 * 60 * 150**2  # Bytes of the scores of one row of nodes.
    plan = potentials.bounded_schedule(offsets, shape, 7 * row / 2**20)
    assert plan.window == (7, 60)
    assert len(plan.steps.offset) == 24 * 9  # ceil(60 / 7) blocks.
    # The last block reaches three rows below the map.
    assert plan.padding == ((12, 12 + 3), (12, 12))
    whole = potentials.bounded_schedule(offsets, shape, 60 * row / 2**20)
    assert whole.window == (60, 60) and len(whole.steps.offset) == 24


def test_a_row_of_scores_above_the_memory_limit_is_refused():
    offsets = np.array([[0, 1]])
    with pytest.raises(UserError) as error:
        potentials.bounded_schedule(offsets, (8, 60, 60, 150), 16)
    assert "take 41.2 MiB (8 images, 150 x 150 classes)" in str(error.value)
    assert "expected at most 16 MiB" in str(error.value)
    assert "lower train.batch_size or eval.batch_size" in str(error.value)
