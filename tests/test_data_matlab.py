"""MATLAB files: as SciPy writes them, and damaged."""

import io

import numpy as np
import pytest
import scipy.io

from encnet_jax.data.archives import matlab
from encnet_jax.errors import UserError

NUMBERS = ("u1", "i1", "u2", "i4", "f4", "f8", "i8", "u8")


class File:
    def __init__(self, content):
        self.read = lambda: content

    def __str__(self):
        return "x.mat"


def written(compressed, **variables):
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, variables, do_compression=compressed)
    return buffer.getvalue()


VALUES = {
    "names": np.array([["wall"], ["bäd"]], object),
    "structure": {"mask": np.ones((2, 2), np.uint8), "other": {"x": np.ones(3)}},
    "row": np.arange(5.0),
}


@pytest.mark.parametrize("compressed", [False, True])
def test_values_are_those_that_were_written(compressed):
    for kind in NUMBERS:
        ids = np.arange(6).reshape(2, 3).astype(kind)
        file = File(written(compressed, ids=ids, **VALUES))
        found = matlab.variables(file, "ids", *VALUES)
        assert found["ids"].dtype == ids.dtype
        np.testing.assert_array_equal(found["ids"], ids)
        assert found["names"].tolist() == [["wall"], ["bäd"]]
        np.testing.assert_array_equal(found["structure"]["mask"], np.ones((2, 2)))
        np.testing.assert_array_equal(found["structure"]["other"]["x"], [[1, 1, 1]])
        np.testing.assert_array_equal(found["row"], [[0, 1, 2, 3, 4]])


def test_damaged_files_have_one_line():
    """SciPy's reader ends the process for one in a hundred of them."""
    rng = np.random.default_rng(0)
    whole = [written(compressed, **VALUES) for compressed in (False, True)]
    refused = 0
    for i in range(400):
        content = bytearray(whole[i % 2])
        for place in rng.integers(120, len(content), 3):
            content[place] = rng.integers(256)
        try:
            matlab.variables(File(bytes(content)), "names", "structure")
        except UserError as error:
            refused += 1
            assert str(error).startswith("x.mat: cannot be read (")
    assert 100 < refused < 400


def test_a_mask_has_ids_of_eight_bits():
    assert matlab.mask(np.array([[1.0, 255.0]])).tolist() == [[1, 255]]
    for wrong in ([[256]], [[-1]], [[np.nan]], [1], [["a"]], {}, np.zeros((0, 3))):
        with pytest.raises(ValueError, match="is not a mask; expected a matrix of ids"):
            matlab.mask(wrong)
