"""The Encoding Layer: weighted sums of differences between features and codewords."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from encnet_jax.models.bands import SUBLANES

Array = jax.Array | np.ndarray  # Parameters of exported programs are NumPy arrays.

# Flax collection of intermediate values, such as 'gates' of ContextEncoding and
# 'assignment' of Encoding. Values are stored only if a caller makes it mutable.
INTERMEDIATES = "context"


def store(module: nn.Module, name: str, value: jax.Array) -> None:
    """Stores a value in Flax's collection INTERMEDIATES if the collection is mutable.

    In `init`, nothing is stored: every collection is mutable there, and `init` would
    return the value as a variable.
    """
    if not module.is_initializing():
        module.sow(INTERMEDIATES, name, value)


def assign(
    features: Float[Array, "N D"],
    codewords: Float[Array, "K D"],
    smoothing: Float[Array, " K"],
) -> Float[jax.Array, "N K"]:
    """Computes the soft assignment of every position to the codewords.

    Args:
        features: [N, D], features of N positions, any float dtype.
        codewords: f32[K, D].
        smoothing: f32[K], dimensionless; large factors make the assignment hard.

    Returns:
        f32[N, K]; row n is the softmax over k of
        -smoothing[k] * |features[n] - codewords[k]|^2.

    Source: equation 1 of the paper. The released code stores -smoothing.
    """
    wide = np.promote_types(features.dtype, np.float32)
    features = features.astype(wide)  # The expanded square cancels in bfloat16.
    product = jnp.einsum("nd,kd->nk", features, codewords, precision="highest")
    sq_distance = (
        jnp.sum(features**2, axis=-1, keepdims=True)
        - 2 * product
        + jnp.sum(codewords**2, axis=-1)[None]
    )
    return jax.nn.softmax(-smoothing.astype(wide)[None] * sq_distance, axis=-1)


def encode(
    features: Float[Array, "B N D"],
    codewords: Float[Array, "K D_codewords"],
    smoothing: Float[Array, " K_smoothing"],
    weights: Float[Array, "B N"] | None = None,
) -> Float[jax.Array, "B K D"]:
    """Sums the residuals to each codeword, weighted by the soft assignment.

    The residual is the difference between a feature and a codeword. Shapes: B images,
    N = H * W positions, D channels, K codewords. Neither the forward nor the backward
    pass creates a [B, N, K, D] array.

    Args:
        features: [B, N, D], any float dtype.
        codewords: f32[K, D].
        smoothing: f32[K], dimensionless; large factors make the assignment hard.
        weights: f32[B, N], weight of each position; None: all weights are 1.

    Returns:
        f32[B, K, D]; for each image, row k is
        sum_n weights[n] * a[n, k] * (features[n] - codewords[k]),
        where a is the result of `assign`.

    Raises:
        ValueError: D differs between features and codewords, or K differs between
            codewords and smoothing.

    Source: equation 1 of the paper.
    """
    return _encode(features, codewords, smoothing, weights)[0]


def _encode(features, codewords, smoothing, weights) -> tuple[jax.Array, jax.Array]:
    """Returns the codes (see `encode`) and the weighted assignment f32[B * N, K]."""
    if features.shape[-1] != codewords.shape[-1]:
        raise ValueError(
            f"features have {features.shape[-1]} channels, but codewords have"
            f" {codewords.shape[-1]}; expected the same number of channels"
        )
    if smoothing.shape != codewords.shape[:1]:
        raise ValueError(
            f"smoothing has shape {smoothing.shape}; expected {codewords.shape[:1]},"
            " one factor for each codeword"
        )
    images, positions, channels = features.shape
    # The positions of all images form one axis: with a batch axis, a TPU would copy all
    # features to place images side by side in its registers.
    features = features.reshape(-1, channels)
    features = features.astype(np.promote_types(features.dtype, np.float32))
    assignment = assign(features, codewords, smoothing)
    if weights is not None:
        assignment *= weights.reshape(-1, 1)
    weighted = _sums_by_image(assignment, features, images)
    sizes = assignment.reshape(images, positions, -1).sum(axis=1)
    return weighted - sizes[..., None] * codewords[None], assignment


def _sums_by_image(assignment, features, images):
    """Sums the features of each image, weighted by the assignment to each codeword.

    Args:
        assignment: f32[B * N, K].
        features: f32[B * N, D].
        images: B, which is symbolic in an exported program with any batch size.

    Returns:
        f32[B, K, D].
    """

    def product(assignment, features):
        return jnp.einsum("nk,nd->kd", assignment, features, precision="highest")

    if isinstance(images, int) and images < SUBLANES:  # Symbolic if exported.
        parts = (jnp.split(x, images) for x in (assignment, features))
        return jnp.stack([product(*pair) for pair in zip(*parts, strict=True)])
    parts = (x.reshape(images, -1, x.shape[-1]) for x in (assignment, features))
    return jax.vmap(product)(*parts)


def _codeword_init(key, shape, dtype):
    """Samples from U(-b, b) with b = 1 / sqrt(K * D), as the released code does."""
    bound = (shape[0] * shape[1]) ** -0.5
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def _smoothing_init(key, shape, dtype):
    """Samples from U(0, 1); the released code samples -smoothing from U(-1, 0)."""
    return jax.random.uniform(key, shape, dtype)


class Encoding(nn.Module):
    """The Encoding Layer with learned codewords and smoothing factors.

    Attributes:
        num_codes: K, number of codewords.
        draw_smoothing: whether smoothing factors are sampled instead of learned. In
            training, every forward pass samples from U(0, 1) with the random stream
            'smoothing'. In evaluation, all factors are 0.5.

    Params: codewords f32[K, D]; smoothing f32[K], absent if `draw_smoothing` is set.

    Source: sections 2 and 3.5 of the paper.
    """

    num_codes: int
    draw_smoothing: bool = False

    @nn.compact
    def __call__(
        self,
        features: Float[Array, "B *positions D"],
        train: bool = False,
        weights: Float[Array, "B *positions"] | None = None,
    ) -> Float[jax.Array, "B {self.num_codes} D"]:
        """Returns the K codes of each image, f32[B, K, D]; see `encode`.

        If `apply` is called with `mutable=[INTERMEDIATES]`, this collection contains
        'assignment', f32[B, H, W, K] or f32[B, N, K]: the soft assignment multiplied by
        `weights`.

        Args:
            features: [B, H, W, D] or [B, N, D], any float dtype.
            train: whether smoothing factors are sampled if `draw_smoothing` is set.
            weights: f32[B, H, W] or f32[B, N], weight of each position; None: all
                weights are 1.
        """
        channels = features.shape[-1]
        codewords = self.param(
            "codewords", _codeword_init, (self.num_codes, channels), jnp.float32
        )
        flat = features.reshape(features.shape[0], -1, channels)
        if weights is not None:
            weights = weights.reshape(flat.shape[:2])
        codes, assignment = _encode(flat, codewords, self._smoothing(train), weights)
        shape = *features.shape[:-1], self.num_codes
        store(self, "assignment", assignment.reshape(shape))
        return codes

    def _smoothing(self, train: bool) -> Array:
        shape = (self.num_codes,)
        if not self.draw_smoothing:
            return self.param("smoothing", _smoothing_init, shape, jnp.float32)
        if not train:
            return jnp.full(shape, 0.5, jnp.float32)
        return jax.random.uniform(self.make_rng("smoothing"), shape, jnp.float32)


def smoothing_statistics(params) -> dict[str, jax.Array]:
    """Returns the mean and standard deviation of all learned smoothing factors.

    The paper reports that the factors are close to 0.5 with a small variance.

    Args:
        params: parameters of any network.

    Returns:
        {'smoothing_mean': f32[], 'smoothing_std': f32[]}; {} if the network has no
        learned smoothing factors.
    """
    leaves = jax.tree_util.tree_leaves_with_path(params)
    found = [x.ravel() for path, x in leaves if path[-1].key == "smoothing"]
    if not found:
        return {}
    factors = jnp.concatenate(found)
    return {"smoothing_mean": jnp.mean(factors), "smoothing_std": jnp.std(factors)}
