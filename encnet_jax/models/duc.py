"""Dense upsampling convolution: the head's channels become rows and columns."""

import jax


def depth_to_space(x: jax.Array, block: int) -> jax.Array:
    """Moves blocks of channels to their places on a finer grid.

    Channel (class * block + row) * block + column of cell (y, x) becomes the class at
    row block * y + row and column block * x + column: the order of PyTorch's
    PixelShuffle. TensorFlow's depth_to_space has the class last instead.

    Args:
        x: [B, h, w, L * block * block].
        block: r; 1 leaves x as it is.

    Returns:
        [B, h * block, w * block, L].

    Raises:
        ValueError: the channels are no multiple of block * block.

    Source: Wang et al., WACV 2018, section 3.1; the order is the authors' code's.
    """
    batch, height, width, channels = x.shape
    classes, rest = divmod(channels, block**2)
    if rest:
        raise ValueError(f"{channels} channels do not divide into blocks of {block}^2")
    x = x.reshape(batch, height, width, classes, block, block)
    return x.transpose(0, 1, 4, 2, 5, 3).reshape(
        batch, height * block, width * block, classes
    )
