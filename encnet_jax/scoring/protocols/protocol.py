"""The base class of evaluation protocols; scorers and labellers.

A scorer yields the class scores of images, a labeller the class id of every pixel or
other results per pixel.
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
    """Defines how images are cut, scaled and averaged. Subclasses define `scorer`.

    Attributes:
        forward: the network's forward pass.
        eval_config: section `eval` of the resolved configuration.
        batch_size: number of images or windows in a batch, over all devices.
        devices: the devices to use.
        canvases: the canvases on which images are placed; by default each canvas has
            the size of its image, rounded up to eval.bucket.
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
        """Stores the attributes, see the class; nothing is compiled yet."""
        self.forward, self.eval_config = forward, eval_config
        self.canvases = canvases or Canvases(eval_config.bucket)
        self.batch_size, self.devices = batch_size, devices

    def view(self, example: dict) -> dict:
        """Returns the part of an example to evaluate; by default the whole example."""
        return example

    def scorer(self) -> Any:
        """Returns an object with a method `scores`, such as AveragedScales.

        `scores(variables, examples)` yields (examples, scores, presence) for one image
        on each device. Scores f32[devices, H, W, C] are at the original size of the
        image, padded to a canvas. They are 0 or more; divided by their sum over
        classes, they are probabilities. Presence f32[devices, C] is the probability of
        each class to occur in the image, or None.
        """
        raise NotImplementedError

    def labeller(self, pixel_fn: Callable, with_labels: bool) -> Any:
        """Returns an object with a method `describe`, such as ArgMax.

        `describe(variables, examples)` yields (examples, Described) for each batch.

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
            scales: factors by which images are resized, in addition to
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
    """Labels each pixel with the class that has the largest score of a scorer."""

    def __init__(
        self,
        scorer: Any,
        devices: list,
        pixel_fn: Callable = labels_only,
        with_labels: bool = False,
    ):
        """Stores its arguments; nothing is compiled yet.

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
        """Yields (examples, Described), with the results of one image on each device.

        Args:
            variables: variables of the network, replicated on the devices.
            examples: dicts with image uint8[H, W, 3] and, if `with_labels` is set,
                label uint8[H, W].
        """
        for members, total, presence in self._scorer.scores(variables, examples):
            labels: tuple = ()
            if self._with_labels:
                laid = canvas.lay_labels(members, len(total), total.shape[1:3])
                labels = (parallel.spread(laid, self._devices),)
            yield members, Described.one_each(self._describe(total, *labels), presence)


class Labeller(NamedTuple):
    """Labels images under a protocol.

    Attributes:
        view: function that returns the part of an example to evaluate; see
            Protocol.view.
        describe: function of variables and results of `view` that yields (examples,
            Described) for each batch; see WholeImages.describe.
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
    """Returns an object that labels images under a protocol.

    Args:
        forward: the network's forward pass.
        eval_config: section `eval` of the resolved configuration.
        protocol: one of PROTOCOLS.
        refine: 'none', or 'dense' to refine scores by a dense CRF.
        pixel_fn: computes the results for every pixel, by default class ids; see
            whole_images.predict.
        with_labels: whether pixel_fn also needs the labels of the examples.
        how: batch_size, devices and canvases; see Protocol.

    Raises:
        UserError: the protocol is unknown.
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
    """Returns a pixel_fn that first applies a softmax temperature to probabilities.

    Args:
        pixel_fn: function that is called with the softened probabilities as weights;
            see whole_images.predict.
        temperature: softmax temperature (eval.temperature); 1 changes nothing.
    """
    if temperature == 1:
        return pixel_fn

    def described(scores, weights, *labels):
        softened = calibration.at_temperature(weights, temperature)
        return pixel_fn(scores, softened, *labels)

    return described


def of_name(protocol: str, forward: Forward, eval_config: Any, **how) -> Protocol:
    """Returns the protocol with a name.

    Args:
        protocol: name in PROTOCOLS.
        forward, eval_config, how: arguments of Protocol.

    Raises:
        UserError: no protocol has this name.
    """
    return PROTOCOLS.get(protocol)(forward, eval_config, **how)


def upsampled(forward: Forward, maps: str) -> tuple[Forward, bool]:
    """Returns the forward pass that computes the maps to upsample.

    Args:
        forward: the network's forward pass.
        maps: 'logits' or 'probabilities', the value of eval.upsampled.

    Returns:
        (forward pass, whether its logits are probabilities).
    """
    if maps == "probabilities":
        probabilities = partial(_probabilities, apply_fn=forward.apply_fn)
        return forward._replace(apply_fn=probabilities), True
    return forward, False


def _probabilities(*arguments, apply_fn):
    outputs = apply_fn(*arguments)
    return outputs._replace(logits=jax.nn.softmax(outputs.logits, axis=-1))
