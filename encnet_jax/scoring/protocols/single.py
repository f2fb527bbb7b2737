"""The `single` protocol: evaluates whole images at one scale."""

from collections.abc import Callable

from encnet_jax.scoring.protocols import PROTOCOLS
from encnet_jax.scoring.protocols.protocol import Protocol, upsampled
from encnet_jax.scoring.protocols.whole_images import WholeImages, of_shares


@PROTOCOLS.register(
    "single", reported=("data.input_scale", "eval.bucket", "eval.upsampled")
)
class Single(Protocol):
    """Evaluates whole images at one scale.

    Class ids are computed from upsampled logits or, if eval.upsampled is
    'probabilities', from upsampled probabilities.
    """

    def scorer(self):
        """Returns a scorer for one scale; see Protocol.scorer."""
        return self.averaged()

    def labeller(self, pixel_fn: Callable, with_labels: bool):
        """Returns a labeller for one scale, a WholeImages; see Protocol.labeller."""
        forward, are_probabilities = upsampled(self.forward, self.eval_config.upsampled)
        return WholeImages(
            forward,
            canvases=self.canvases,
            batch_size=self.batch_size,
            devices=self.devices,
            pixel_fn=of_shares(pixel_fn) if are_probabilities else pixel_fn,
            with_labels=with_labels,
        )
