"""train.py in double precision, where rounding neither hides nor makes a difference.

In single precision a unit at a ReLU's edge falls to one side or the other by the order
in which sums are taken, so that runs on other numbers of devices drift apart after a
few steps.
"""

import os
import sys
import types

os.environ["JAX_ENABLE_X64"] = "1"

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

jnp.float32 = jnp.float64  # Before any module of ours takes it for a default.

import train  # noqa: E402
from encnet_jax import cli  # noqa: E402
from encnet_jax.models import segmenter  # noqa: E402

# models.segmenter turns config.model.dtype, 'float32', into this type.
double = {"dtype": lambda name: np.dtype("float64")}
segmenter.jnp = types.SimpleNamespace(**vars(jnp) | double)

if __name__ == "__main__":
    sys.exit(cli.run(train.main, sys.argv))
