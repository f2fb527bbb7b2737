"""The base class of evaluation protocols, and the objects that a protocol creates.

A scorer computes class scores for every pixel of an image. A labeller computes a result
for every pixel, by default the class id.
"""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax

from encnet_jax.pods import parallel
from encnet_jax.scoring import calibration
from encnet_jax.scoring.forward import Forward
from encnet_jax.scoring.protocols import PROTOCOLS, canvas
from encnet_jax.scoring.protocols.averaged_scales import AveragedScales
from encnet_jax.scoring.protocols.canvases import Canvases
from encnet_jax.scoring.protocols.dense_refined import DenseRefined
from encnet_jax.scoring.protocols.whole_images import Described, labels_only, of_shares


class Protocol:
    """Defines how images are cropped and scaled, and how predictions are averaged.

    Subclasses must define `scorer`.

    Attributes:
        forward: the network's forward pass.
        eval_config: section `eval` of the resolved configuration.
        batch_size: number of images or windows in a batch, over all devices.
        devices: the devices to use.
        canvases: the sizes to which images are padded; by default, height and width
            are rounded up to multiples of eval.bucket.
    """

    def __init__(
        self,
        forward: Forward,
        eval_config: Any,
        *,
        batch_size: int,
        devices: list,
        canvases: Canvases | None = None,
    ):
        """Stores the arguments (see the class); nothing is compiled yet."""
        self.forward, self.eval_config = forward, eval_config
        self.canvases = canvases or Canvases(eval_config.bucket)
        self.batch_size, self.devices = batch_size, devices

    def view(self, example: dict) -> dict:
        """Returns the part of an example to evaluate: by default the whole example."""
        return example

    def scorer(self) -> Any:
        """Returns an object with a method `scores`, such as AveragedScales.

        `scores(variables, examples)` yields (examples, scores, presence) for one image
        per device at a time:

        - scores: f32[devices, H, W, C], non-negative, proportional to the class
          probabilities, at the original size of the images with padding.
        - presence: f32[devices, C], probability that each class occurs in the image;
          None if the network has no SE branch.
        """
        raise NotImplementedError

    def labeller(self, pixel_fn: Callable, with_labels: bool) -> Any:
        """Returns an object with a method `describe`, such as ArgMax.

        `describe(variables, examples)` yields (examples, results) for each batch, where
        the results are a whole_images.Described.

        Args:
            pixel_fn, with_labels: see whole_images.WholeImages.
        """
        return ArgMax(self.scorer(), self.devices, pixel_fn, with_labels)

    def averaged(
        self,
        scales: Iterable[float] = (1.0,),
        flip: bool = False,
    ) -> AveragedScales:
        """Returns a scorer that averages probabilities over scales and mirror images.

        Args:
            scales: factors by which images are resized; each is multiplied by
                forward.input_scale.
            flip: whether to add the mirror image at each scale.
        """
        forward, are_probabilities = upsampled(self.forward, self.eval_config.upsampled)
        return AveragedScales(
            forward,
            scales=tuple(scales),
            flip=flip,
            canvases=self.canvases,
            devices=self.devices,
            are_probabilities=are_probabilities,
        )


class ArgMax:
    """Computes a result for every pixel, by default the class id, from class scores."""

    def __init__(
        self,
        scorer: Any,
        devices: list,
        pixel_fn: Callable = labels_only,
        with_labels: bool = False,
    ):
        """Stores the arguments; nothing is compiled yet.

        Args:
            scorer: see Protocol.scorer.
            devices: the devices to use.
            pixel_fn, with_labels: see whole_images.WholeImages.
        """
        self._scorer, self._devices = scorer, devices
        self._with_labels = with_labels
        described = of_shares(pixel_fn)

        def one_image(total, *labels):
            # Adds an axis: a batch has one image on each device.
            return jax.tree.map(lambda x: x[None], described(total, None, *labels))

        self._describe = parallel.mapped(one_image, devices=devices)

    def describe(
        self, variables: dict, examples: Iterable[dict]
    ) -> Iterator[tuple[list[dict], Described]]:
        """Yields the results of one image per device at a time.

        Args:
            variables: variables of the network, replicated on the devices.
            examples: dicts with 'image' uint8[H, W, 3] and, if `with_labels` is set,
                'label' uint8[H, W].

        Yields:
            (examples, results), where the results are a whole_images.Described.
        """
        for members, total, presence in self._scorer.scores(variables, examples):
            labels: tuple = ()
            if self._with_labels:
                laid = canvas.lay_labels(members, len(total), total.shape[1:3])
                labels = (parallel.spread(laid, self._devices),)
            yield members, Described.one_each(self._describe(total, *labels), presence)


class Labeller(NamedTuple):
    """Two functions that compute a result for every pixel, by default the class id.

    Attributes:
        view: function that returns the part of an example to evaluate; see
            Protocol.view.
        describe: function (variables, examples) that yields (examples, results) for
            each batch; see WholeImages.describe. Apply `view` to the examples first.
    """

    view: Callable[[dict], dict]
    describe: Callable


def make(
    forward: Forward,
    eval_config: Any,
    *,
    protocol: str,
    refine: str,
    pixel_fn: Callable = labels_only,
    with_labels: bool = False,
    **how: Any,
) -> Labeller:
    """Returns the Labeller of a protocol.

    Args:
        forward: the network's forward pass.
        eval_config: section `eval` of the resolved configuration.
        protocol: name in PROTOCOLS.
        refine: 'none', or 'dense' to refine scores by a dense CRF.
        pixel_fn: function that computes the results for every pixel, by default class
            ids; see whole_images.predict.
        with_labels: whether the labels of the examples are passed to `pixel_fn`.
        how: further arguments of Protocol: `batch_size`, `devices` and `canvases`.

    Raises:
        UserError: no protocol has this name.
    """
    chosen = of_name(protocol, forward, eval_config, **how)
    pixel_fn = tempered(pixel_fn, eval_config.temperature)
    labeller = (
        chosen.labeller(pixel_fn, with_labels)
        if refine == "none"
        else DenseRefined(
            chosen.scorer(), eval_config.dense, chosen.devices, pixel_fn, with_labels
        )
    )
    return Labeller(chosen.view, labeller.describe)


def tempered(pixel_fn: Callable, temperature: float) -> Callable:
    """Wraps a `pixel_fn`: applies a softmax temperature to its input probabilities.

    Args:
        pixel_fn: function (scores, weights, *labels); see whole_images.predict. The
            weights are replaced by the new probabilities.
        temperature: softmax temperature (eval.temperature); 1 has no effect.
    """
    if temperature == 1:
        return pixel_fn

    def described(scores, weights, *labels):
        softened = calibration.at_temperature(weights, temperature)
        return pixel_fn(scores, softened, *labels)

    return described


def of_name(protocol: str, forward: Forward, eval_config: Any, **how) -> Protocol:
    """Creates the protocol that has the given name.

    Args:
        protocol: name in PROTOCOLS.
        forward, eval_config, how: arguments of Protocol.

    Raises:
        UserError: no protocol has this name.
    """
    return PROTOCOLS.get(protocol)(forward, eval_config, **how)


def upsampled(forward: Forward, maps: str) -> tuple[Forward, bool]:
    """Returns a forward pass that outputs logits or probabilities, for upsampling.

    Args:
        forward: the network's forward pass.
        maps: 'logits' or 'probabilities'; see eval.upsampled.

    Returns:
        (forward, are_probabilities). If `are_probabilities` is True, the field `logits`
        of Outputs contains probabilities.
    """
    if maps == "probabilities":
        probabilities = partial(_probabilities, apply_fn=forward.apply_fn)
        return forward._replace(apply_fn=probabilities), True
    return forward, False


def _probabilities(*arguments, apply_fn):
    outputs = apply_fn(*arguments)
    return outputs._replace(logits=jax.nn.softmax(outputs.logits, axis=-1))
