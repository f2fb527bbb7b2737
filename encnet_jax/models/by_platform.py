"""Selects the fastest of several equivalent forms of a function for each platform."""

import os
from collections.abc import Callable
from functools import partial

import jax

from encnet_jax.errors import UserError

SWITCH = "ENCNET_PLATFORM_FORMS"  # Environment variable; 0: only default forms.


def enabled() -> bool:
    """Whether functions traced from now on may use platform-specific forms.

    Raises:
        UserError: the environment variable is neither 0 nor 1.
    """
    value = os.environ.get(SWITCH, "1")
    if value not in ("0", "1"):
        raise UserError(
            f"the environment variable {SWITCH} is {value!r}; expected 0 or 1"
        )
    return value == "1"


def by_platform(forms: dict[str, Callable], *arrays: jax.Array) -> jax.Array:
    """Applies the form of a function that is meant for the target platform.

    The target is the platform for which the program is compiled.

    Args:
        forms: platform ('cpu', 'cuda', 'tpu' or 'default') -> function of the arrays.
            The functions differ only in cost and rounding. Platforms without a form use
            'default'.
        *arrays: arguments of the function, of any floating type.

    Returns:
        The result of the selected form. Gradients are computed by the same form.
    """
    if len(forms) == 1 or not enabled():
        return forms["default"](*arrays)
    return _by_platform(forms, *arrays)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _by_platform(forms: dict[str, Callable], *arrays: jax.Array) -> jax.Array:
    return jax.lax.platform_dependent(*arrays, **forms)


def _forward(forms, *arrays):
    return _by_platform(forms, *arrays), arrays


def _backward(forms, arrays, cotangent):
    # Each form is differentiated here: otherwise the backward pass would keep the
    # intermediate arrays of all forms.
    def of(form):
        return lambda cotangent, *arrays: jax.vjp(form, *arrays)[1](cotangent)

    gradients = {name: of(form) for name, form in forms.items()}
    return jax.lax.platform_dependent(cotangent, *arrays, **gradients)


_by_platform.defvjp(_forward, _backward)
