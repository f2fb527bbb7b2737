"""Published weights by name: where they are, what they fit, and their download.

Nothing here imports JAX: a configuration reads the fields that weights imply, and
`encnet weights list` prints the table, before JAX is loaded.
"""

from encnet_jax.registry import Registry
from encnet_jax.weights import authors, mmseg, sssegmentation, timm, torchvision
from encnet_jax.weights.published import Published

__all__ = ["PUBLISHED", "Published"]

# Another publisher: one file with a tuple PUBLISHED, and one entry here.
_PUBLISHERS = (torchvision, mmseg, timm, sssegmentation, authors)

PUBLISHED: Registry[Published] = Registry(
    "name of published weights",
    {entry.name: entry for module in _PUBLISHERS for entry in module.PUBLISHED},
)
