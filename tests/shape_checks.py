"""Checks arguments and results of public functions against their annotations."""

import jaxtyping
from beartype import BeartypeConf, beartype

# Dtype and number of axes are checked at every call, and sizes wherever an annotation
# repeats a letter or names an argument: Float[Array, "B {height} {width} C"].
MODULES = (
    "encnet_jax.losses",
    "encnet_jax.models.encoding",
    "encnet_jax.models.resize",
    "encnet_jax.scoring.metrics",
)

# An int is accepted where a float is annotated, as type checkers accept it.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))


def install() -> None:
    """Checks the functions of MODULES; call it before they are imported."""
    jaxtyping.install_import_hook(MODULES, f"{__name__}.check")
