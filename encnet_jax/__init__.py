"""EncNet (Context Encoding for Semantic Segmentation, CVPR 2018) in JAX and Flax.

>>> model = encnet_jax.load("runs/demo")
>>> result = model("photo.jpg")
>>> result.labels, result.confidence, result.overlay(), result.class_names
"""

import os
from typing import TYPE_CHECKING

# Open object stores with gcsfs or s3fs. TensorFlow's file API supports only gs://, has
# fewer methods, and would be imported to read a checkpoint.
os.environ.setdefault("EPATH_USE_TF", "0")

__version__ = "0.1.0"
__all__ = ["Model", "Result", "UserError", "load"]

if TYPE_CHECKING:
    from encnet_jax.errors import UserError as UserError
    from encnet_jax.inference.model import Model as Model
    from encnet_jax.inference.model import load as load
    from encnet_jax.inference.result import Result as Result

_WHERE = {
    "Model": "encnet_jax.inference.model",
    "Result": "encnet_jax.inference.result",
    "UserError": "encnet_jax.errors",
    "load": "encnet_jax.inference.model",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str):
    """Imports a public name on first use: `import encnet_jax` does not load JAX."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)
