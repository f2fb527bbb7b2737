"""The Python interface: `load` returns a trained network as a callable Model."""

import contextlib
import functools
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import overload

import jax
import numpy as np

from encnet_jax import storage
from encnet_jax.data.sources.decode import image_rules, image_size
from encnet_jax.errors import UserError
from encnet_jax.evaluate import loading
from encnet_jax.inference import pixels, published, reading
from encnet_jax.inference.context import SceneContext, scene_context
from encnet_jax.inference.reading import ImageLike
from encnet_jax.inference.result import Result
from encnet_jax.inference.tiles import Tiles
from encnet_jax.scoring.evaluator import native_results
from encnet_jax.scoring.protocols import protocol as protocol_lib
from encnet_jax.scoring.protocols.canvases import Canvases
from encnet_jax.scoring.protocols.whole_images import of_shares
from encnet_jax.tasks.network import Network
from encnet_jax.weights import cache

WHOLE_PX = 2048 * 2048  # Images with more pixels are labelled in tiles.
SIZES_READ = 256  # Largest number of images that `expect` reads for their sizes.
_BATCHES_AHEAD = 4  # Number of batches to look ahead when grouping images by size.


def load(
    source: str | os.PathLike,
    checkpoint: int | str | None = None,
    *,
    protocol: str | None = None,
    batch_size: int | None = None,
    whole_px: int = WHOLE_PX,
    fields: Mapping[str, object] | None = None,
    announce: bool = False,
) -> "Model":
    """Loads a trained segmentation network.

    Args:
        source: one of the following:

            - the folder of a run, on a disk or in an object store;
            - a folder that `encnet export --format hub` wrote;
            - 'hf:owner/name', a model on Hugging Face that `encnet export --push`
              uploaded;
            - the name of a published network, such as
              'torchvision:deeplabv3_resnet50'; see `encnet weights list`.
        checkpoint: a step, 'best' or 'newest'. By default, the best checkpoint, or the
            newest if no checkpoint was scored in validation.
        protocol: 'single', 'multiscale' or 'release'; by default the run's
            eval.protocol.
        batch_size: number of images that are labelled at a time, in total over all
            devices; by default one image per device.
        whole_px: images with more than `whole_px` pixels are labelled in tiles; see
            inference.tiles.
        fields: configuration fields to change, such as {'eval.bucket': 32}.
        announce: whether to print which checkpoint is loaded.

    Raises:
        UserError: the run or the checkpoint does not exist, or the run's task is not
            segmentation.
    """
    fields = dict(fields or {})
    source = os.fspath(source)
    if cache.is_name(source):
        if checkpoint is not None:
            raise UserError(
                f"{source} is a published network, whose checkpoint cannot be selected;"
                " omit `checkpoint`"
            )
        if protocol is not None:
            fields["eval.protocol"] = protocol
        network = published.read(source, fields)
    else:
        wanted = None if checkpoint is None else str(checkpoint)
        selection = loading.Selection(
            wanted, protocol=protocol, fields=fields, announce=announce
        )
        network = loading.load(source, selection, whole_images=True)
    return Model(network, batch_size=batch_size, whole_px=whole_px)


class Model:
    """A trained network that labels images of any size.

    Images are padded until height and width are multiples of eval.bucket. One program
    is compiled for each padded size; `expect` reduces the number of padded sizes.

    Attributes:
        config: resolved configuration of the run.
        step: training step of the checkpoint.
        class_names: names of the classes, in the order of their ids.
        colours: uint8[C, 3], RGB of each class.
        variables: {'params', 'batch_stats'} on the devices.
        forward: the forward pass, from pixels to logits.
        apply_fn: short for `forward.apply_fn`.
        normalise: the function that normalises pixels.
    """

    def __init__(
        self,
        network: Network,
        *,
        batch_size: int | None = None,
        whole_px: int = WHOLE_PX,
    ):
        """Wraps a trained network; `load` is the usual way to create a Model.

        Args:
            network: the network, on the devices.
            batch_size, whole_px: see `load`.

        Raises:
            UserError: the network's task is not segmentation.
        """
        config, info = network.config, network.info
        if config.task != "segmentation":
            raise UserError(
                f"the run's task is {config.task!r}; expected a run with task"
                " 'segmentation'"
            )
        self.config, self.step = config, network.step
        self.class_names, self.colours = info.class_names, info.colours
        self.variables = network.variables
        self._prepared = functools.cache(network.prepared)
        self._devices = jax.local_devices()
        count = len(self._devices)
        self._batch_size = max(1, (batch_size or count) // count) * count
        self._whole_px = whole_px
        self._network = network
        self.forward, self.normalise = network.forward(), network.task.normalise
        self.apply_fn = self.forward.apply_fn
        self._programs: dict[Callable, tuple] = {}
        self._canvases = Canvases(config.eval.bucket)

    def expect(self, paths: Iterable[os.PathLike]) -> None:
        """Chooses a few padded sizes for many images, to compile fewer programs.

        This method has no effect if padding affects the network's scores.

        Args:
            paths: paths of the images that will be labelled. The sizes of at most
                SIZES_READ of these images are read; images in object stores are
                skipped. If no size is found, images are only padded to multiples of
                eval.bucket.
        """
        if not self.forward.mask_padding:
            return
        rules, sizes, paths = image_rules(self.config.data), [], list(paths)
        for path in paths[:: -(-len(paths) // SIZES_READ) or 1]:
            # Unreadable images are reported later. Remote images are not read here,
            # because they would be downloaded twice.
            with contextlib.suppress(UserError, OSError):
                if not storage.is_remote(path):
                    encoded = storage.read_bytes(path, rules.max_bytes)
                    sizes.append(image_size(encoded, os.fspath(path), rules))
        whole = [(h, w) for h, w in sizes if h * w <= self._whole_px]
        self._canvases = Canvases(self.config.eval.bucket, whole)
        self._programs.clear()

    @overload
    def __call__(self, images: ImageLike, *, scores: bool = False) -> Result: ...

    @overload
    def __call__(
        self, images: list[ImageLike], *, scores: bool = False
    ) -> list[Result]: ...

    @overload
    def __call__(
        self, images: Iterator[ImageLike], *, scores: bool = False
    ) -> Iterator[Result]: ...

    def __call__(self, images, *, scores: bool = False):
        """Labels one or several images.

        Args:
            images: one image, a list of images, or an iterator of images. An image is
                an array uint8[H, W, 3] or uint8[H, W], a Pillow image, or the path of a
                file.
            scores: whether to also return the probabilities of all C classes, which
                need 4 * C bytes per pixel.

        Returns:
            A Result for one image; a list of Results for a list; an iterator of Results
            for an iterator. The returned iterator reads a few batches of images ahead.
            The Results are in the order of the images.

        Raises:
            UserError: an image cannot be read or has an unsupported type; see
                inference.reading.read.
        """
        if isinstance(images, np.ndarray) and images.ndim == 4:
            images = list(images)
        single = np.ndarray, str, os.PathLike
        if isinstance(images, single) or not isinstance(images, Iterable):
            return next(self._results([images], scores))
        found = self._results(images, scores)
        return found if isinstance(images, Iterator) else list(found)

    def _results(self, images: Iterable[ImageLike], scores: bool) -> Iterator[Result]:
        pixel_fn = pixels.everything if scores else pixels.confidence
        read = ({"image": self.read(image)} for image in images)
        for example, found in self.describe(read, pixel_fn):
            yield Result(
                example["image"],
                found["labels"],
                found["confidence"],
                self.class_names,
                self.colours,
                found.get("presence"),
                found.get("scores"),
            )

    def __repr__(self) -> str:
        network = f"{self.config.model.name}, {self.config.model.backbone}"
        return f"<Model {network}, {len(self.class_names)} classes, step {self.step}>"

    def read(
        self, image: ImageLike, note: Callable[[str], None] | None = None
    ) -> np.ndarray:
        """Reads an image as uint8[H, W, 3], with the limits in the run's configuration.

        Args:
            image: an array, a Pillow image or a path, see __call__.
            note: function that is called with a line of text if the image is converted
                to RGB.
        """
        rules = image_rules(self.config.data)._replace(note=note)
        return reading.read(image, rules)

    def context(self, image: ImageLike) -> SceneContext:
        """Returns the Context Encoding Module's intermediate values for one image.

        Args:
            image: an array, a Pillow image or a path, see __call__.

        Raises:
            UserError: the image cannot be read, or the network has no Context Encoding
                Module.
        """
        return scene_context(self._network, self.read(image))

    def is_tiled(self, image: np.ndarray) -> bool:
        """Returns whether an image [H, W, 3] is too large to be predicted whole."""
        return image.shape[0] * image.shape[1] > self._whole_px

    def describe(
        self,
        examples: Iterable[dict],
        pixel_fn: Callable,
        done: Callable[[float], None] = lambda share: None,
    ) -> Iterator[tuple[dict, dict[str, np.ndarray]]]:
        """Labels images; yields (example, results) in the given order.

        The results are a dict of arrays [H, W, ...], which `pixel_fn` computes. If the
        network has an SE branch, the dict also contains 'presence' f32[C].

        Args:
            examples: dicts with 'image' uint8[H, W, 3].
            pixel_fn: a function of inference.pixels. Pass the same object again to
                reuse the compiled programs.
            done: function that reports progress. `done(1)` is called after each image
                that is labelled as a whole; `done(1 / n)` is called after each of the n
                rows of tiles of a large image.

        Raises:
            UserError: an image must be labelled in tiles, but eval.protocol is not
                'single', eval.refine is not 'none', or neighbouring logits are not a
                whole number of pixels apart.
        """
        for together, some in itertools.groupby(
            examples, lambda example: not self.is_tiled(example["image"])
        ):
            if together:
                yield from self._whole(some, pixel_fn, done)
                continue
            for example in some:
                yield example, self._in_tiles(example["image"], pixel_fn, done)

    def _whole(self, examples, pixel_fn, done):
        protocol, _ = self._made(pixel_fn)
        ahead = _BATCHES_AHEAD * self._batch_size if self._batch_size > 1 else 1
        examples = iter(examples)
        while some := list(itertools.islice(examples, ahead)):
            numbered = ({**e, "number": i} for i, e in enumerate(some))
            found = {}
            for member, described, presence in native_results(
                protocol, self._prepared(), numbered
            ):
                own = {} if presence is None else {"presence": presence}
                found[member["number"]] = described | own
                done(1)
            yield from ((example, found.pop(i)) for i, example in enumerate(some))

    def _in_tiles(self, image, pixel_fn, done) -> dict[str, np.ndarray]:
        settings, stride = self.config.eval, self.forward.logits_stride
        height, width = image.shape[:2]
        what = f"an image of {width}x{height} pixels must be labelled in tiles, which"
        if (settings.protocol, settings.refine) != ("single", "none"):
            raise UserError(
                f"{what} requires eval.protocol 'single' and eval.refine 'none'; found"
                f" {settings.protocol!r} and {settings.refine!r}: change these fields,"
                " or increase whole_px"
            )
        if stride != round(stride):  # Logits of overlapping tiles would not coincide.
            raise UserError(
                f"{what} requires that neighbouring logits are a whole number of pixels"
                f" apart; found a distance of {stride:.3g} pixels: increase whole_px,"
                " or reduce the size of the image"
            )
        _, tiles = self._made(pixel_fn)
        return tiles.describe(self._prepared(), image, done)

    def _made(self, pixel_fn: Callable) -> tuple:
        """Returns (protocol for whole images, Tiles); both are cached per pixel_fn."""
        if pixel_fn not in self._programs:
            forward, settings = self.forward, self.config.eval
            protocol = protocol_lib.make(
                forward,
                settings,
                protocol=settings.protocol,
                refine=settings.refine,
                batch_size=self._batch_size,
                devices=self._devices,
                canvases=self._canvases,
                pixel_fn=pixel_fn,
            )
            described = protocol_lib.tempered(pixel_fn, settings.temperature)
            maps, are_probabilities = protocol_lib.upsampled(
                forward, settings.upsampled
            )
            tiles = Tiles(
                maps,
                of_shares(described) if are_probabilities else described,
                bucket=settings.bucket,
                devices=self._devices,
            )
            self._programs[pixel_fn] = protocol, tiles
        return self._programs[pixel_fn]
