"""How a residual block ends."""

import jax
import jax.numpy as jnp


@jax.custom_vjp
def relu_of_sum(x: jax.Array, y: jax.Array) -> jax.Array:
    """The ReLU of a sum.

    On a CPU it is computed as max(x, -y) + y, which is the same number. XLA computes
    again for each of its users what has one large operand, as a ReLU has, and with it
    the sum before it: from one block to the next all sums since the stage began, which
    took a fifth of a training step of EncNet-101. A sum of two it computes once.

    It ends the blocks of He et al., "Deep residual learning for image recognition",
    equation 1.

    Args:
        x, y: [B, H, W, C], or any one shape, of one floating type. Finite: of a number
            and minus infinity a CPU makes NaN, where a ReLU would make 0.

    Returns:
        Of their shape and type. Its gradient is 0 where it is 0.
    """
    return jax.lax.platform_dependent(
        x,
        y,
        cpu=lambda x, y: jnp.maximum(x, -y) + y,
        default=lambda x, y: jax.nn.relu(x + y),
    )


def _forward(x, y):
    out = relu_of_sum(x, y)
    return out, out


def _backward(out, cotangent):
    # Not the sum's sign: that would be computed again from before.
    through = jnp.where(out > 0, cotangent, 0)
    return through, through


relu_of_sum.defvjp(_forward, _backward)
