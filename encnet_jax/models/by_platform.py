"""A function in several forms, one of which is compiled for each platform."""

from collections.abc import Callable
from functools import partial

import jax


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def by_platform(forms: dict[str, Callable], *arrays: jax.Array) -> jax.Array:
    """Applies the form for the platform that the program is compiled for.

    Args:
        forms: equivalent functions of the arrays by platform ('cpu', 'cuda', 'tpu');
            'default' is used for all others.
        *arrays: any floating type.

    Returns:
        The form's result. Gradients are those of the form.
    """
    return jax.lax.platform_dependent(*arrays, **forms)


def _forward(forms, *arrays):
    return by_platform(forms, *arrays), arrays


def _backward(forms, arrays, cotangent):
    # Differentiates inside each form; otherwise all forms would store their inputs.
    def of(form):
        return lambda cotangent, *arrays: jax.vjp(form, *arrays)[1](cotangent)

    gradients = {name: of(form) for name, form in forms.items()}
    return jax.lax.platform_dependent(cotangent, *arrays, **gradients)


by_platform.defvjp(_forward, _backward)
