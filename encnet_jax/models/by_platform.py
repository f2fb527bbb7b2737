"""One function in several forms, of which each platform compiles its own."""

from collections.abc import Callable
from functools import partial

import jax


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def by_platform(forms: dict[str, Callable], *arrays: jax.Array) -> jax.Array:
    """Applies the form of the platform that the program is compiled for.

    Args:
        forms: functions of the arrays that agree in all but cost, by platform ('cpu',
            'cuda', 'tpu'); 'default' is that of all others.
        *arrays: any floating type.

    Returns:
        What the form returns. Gradients are the form's own.
    """
    return jax.lax.platform_dependent(*arrays, **forms)


def _forward(forms, *arrays):
    return by_platform(forms, *arrays), arrays


def _backward(forms, arrays, cotangent):
    # Differentiated inside of each form: from outside, all would keep their inputs.
    def of(form):
        return lambda cotangent, *arrays: jax.vjp(form, *arrays)[1](cotangent)

    gradients = {name: of(form) for name, form in forms.items()}
    return jax.lax.platform_dependent(cotangent, *arrays, **gradients)


by_platform.defvjp(_forward, _backward)
