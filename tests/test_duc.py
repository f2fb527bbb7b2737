"""Dense upsampling convolution."""

import jax.numpy as jnp
import numpy as np
import pytest

from encnet_jax.models.heads.duc import depth_to_space


@pytest.mark.parametrize("block", [1, 2, 4])
def test_depth_to_space_by_definition(block):
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 3 * block**2))
    x = x.astype(np.float32)
    found = np.asarray(depth_to_space(jnp.asarray(x), block))
    assert found.shape == (2, 3 * block, 5 * block, 3)
    for y, column, label in np.ndindex(found.shape[1:]):
        channel = (label * block + y % block) * block + column % block
        np.testing.assert_array_equal(
            found[:, y, column, label], x[:, y // block, column // block, channel]
        )


def test_depth_to_space_is_pytorchs_pixel_shuffle():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).standard_normal((1, 4, 3, 5 * 16)).astype(np.float32)
    theirs = torch.pixel_shuffle(torch.from_numpy(x.transpose(0, 3, 1, 2)), 4)
    ours = depth_to_space(jnp.asarray(x), 4)
    np.testing.assert_array_equal(ours, theirs.numpy().transpose(0, 2, 3, 1))


def test_channels_that_are_not_a_multiple_of_the_block_are_refused():
    with pytest.raises(ValueError, match=r"20 channels; expected a multiple of 4 \* 4"):
        depth_to_space(jnp.zeros((1, 2, 2, 20)), 4)
