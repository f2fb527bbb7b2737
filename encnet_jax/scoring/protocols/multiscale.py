"""The `multiscale` protocol: averages probabilities over scales and mirror images."""

from encnet_jax.scoring.protocols import PROTOCOLS
from encnet_jax.scoring.protocols.protocol import Protocol


@PROTOCOLS.register(
    "multiscale",
    reported=(
        "data.input_scale",
        "eval.bucket",
        "eval.scales",
        "eval.flip",
        "eval.upsampled",
    ),
)
class Multiscale(Protocol):
    """Averages the probabilities at all eval.scales.

    With eval.flip, each scale is also evaluated on the mirrored image.
    """

    def scorer(self):
        """Returns a scorer that averages over eval.scales; see Protocol.scorer."""
        return self.averaged(self.eval_config.scales, self.eval_config.flip)
