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

    Setting the environment variable ENCNET_PLATFORM_FORMS to 0 disables them.

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
    """Returns a context manager that sets the platform for which functions are traced.

    Args:
        platform: 'cpu', 'cuda' or 'tpu': the implementations for this platform are
            traced. SEVERAL: the implementations for all platforms are traced, and JAX
            selects one when it lowers the program; unsuitable for gradients, which
            would store the intermediate arrays of all implementations. Any other name:
            the default implementations are traced.
    """
    return _compiled_for(platform)


def by_platform(forms: dict[str, Callable], *arrays: jax.Array) -> jax.Array:
    """Calls the implementation for the target platform.

    The target platform is the platform set by `compiled_for`; outside of `compiled_for`
    it is JAX's default backend.

    Args:
        forms: {platform: implementation}. The key 'default' is required and is used for
            all platforms without a key; other keys are 'cpu', 'cuda' and 'tpu'. The
            implementations differ only in cost and rounding.
        *arrays: arguments of the function, of any floating type.

    Returns:
        The result of the selected implementation. The default implementation is
        differentiated as usual; for the gradient of any other implementation, JAX
        stores only `arrays` and recomputes the intermediate arrays.
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
