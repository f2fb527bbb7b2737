"""Selects, for each platform, the fastest of several equivalent implementations."""

import os
from collections.abc import Callable
from functools import partial

import jax

from encnet_jax.errors import UserError

SWITCH = "ENCNET_PLATFORM_FORMS"  # Environment variable; 0: only default forms.
SEVERAL = "several"

# Part of the keys of JAX's caches: a function is traced again for another platform.
_compiled_for = jax.make_user_context(None)


def enabled() -> bool:
    """Returns whether platform-specific implementations are used.

    Raises:
        UserError: the environment variable ENCNET_PLATFORM_FORMS is neither 0 nor 1.
    """
    value = os.environ.get(SWITCH, "1")
    if value not in ("0", "1"):
        raise UserError(
            f"the environment variable {SWITCH} is {value!r}; expected 0 or 1"
        )
    return value == "1"


def compiled_for(platform: str):
    """Returns a context in which functions are traced for another platform.

    Args:
        platform: 'cpu', 'cuda' or 'tpu' selects the implementations for this platform;
            any other name selects the default implementations. SEVERAL keeps the
            implementations for all platforms until the program is lowered; gradients of
            such a program would store the intermediate arrays of all implementations.
    """
    return _compiled_for(platform)


def by_platform(forms: dict[str, Callable], *arrays: jax.Array) -> jax.Array:
    """Applies the implementation of a function for the target platform.

    The target is the platform set by `compiled_for`, or else JAX's default backend.
    Only the selected implementation is traced.

    Args:
        forms: {platform: implementation}; platforms are 'cpu', 'cuda', 'tpu' and
            'default', which is for all other platforms. The implementations differ only
            in cost and rounding.
        *arrays: arguments of the function, of any floating type.

    Returns:
        The result of the selected implementation. For gradients, only the arguments are
        stored; the backward pass recomputes the intermediate arrays. The 'default'
        implementation is differentiated as usual.
    """
    if len(forms) == 1 or not enabled():
        return forms["default"](*arrays)
    target = _compiled_for.value or jax.default_backend()
    if target == SEVERAL:
        return jax.lax.platform_dependent(*arrays, **forms)
    target = "cuda" if target == "gpu" else target
    if target not in forms:
        return forms["default"](*arrays)
    return _recomputed(forms[target], *arrays)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _recomputed(form: Callable, *arrays: jax.Array) -> jax.Array:
    return form(*arrays)


def _forward(form, *arrays):
    return form(*arrays), arrays


def _backward(form, arrays, cotangent):
    return jax.vjp(form, *arrays)[1](cotangent)


_recomputed.defvjp(_forward, _backward)
