"""Loads the network of a run's checkpoint, or of an exported folder."""

import dataclasses

import jax
from ml_collections import ConfigDict

from encnet_jax import config as config_lib
from encnet_jax import tasks
from encnet_jax.checkpoints import read
from encnet_jax.data import dataset_info
from encnet_jax.errors import UserError
from encnet_jax.evaluate import precise_norm
from encnet_jax.models.folding import fold_batch_norms
from encnet_jax.pods import parallel
from encnet_jax.pods.signals import StopRequest
from encnet_jax.scoring import protocols
from encnet_jax.tasks import folder, network
from encnet_jax.tasks.network import Network


@dataclasses.dataclass(frozen=True)
class Selection:
    """The checkpoint to load, and changes to its configuration.

    Attributes:
        checkpoint: a step, 'best' or 'newest'. None for the command's default:
            evaluation uses the newest checkpoint; other commands use the best
            checkpoint, or the newest if no checkpoint was scored in validation.
        split: split of the data set; None for the command's default.
        protocol: name of an evaluation protocol; None for eval.protocol.
        config: configuration with new values for the fields that evaluation may change,
            such as eval.* and data.data_dir. Other fields of the sections `data` and
            `model` must be equal to those of the checkpoint. None changes nothing.
        fields: further fields to change, such as {'eval.small_object_px': 1024}.
        announce: whether to print the loaded step and the best step.
        folders: (folder of images, folder of masks) to score instead of the run's data.
    """

    checkpoint: str | None = None
    split: str | None = None
    protocol: str | None = None
    config: ConfigDict | None = None
    fields: dict = dataclasses.field(default_factory=dict)
    announce: bool = True
    folders: tuple[str, str] | None = None


NEWEST = Selection()


def load(
    workdir: str,
    selection: Selection = NEWEST,
    *,
    whole_images: bool = False,
    stop: StopRequest | None = None,
) -> Network:
    """Reads a checkpoint and builds its network.

    Args:
        workdir: folder of the run, a folder written by `encnet export --format hub`, or
            hf:owner/name for a model that was uploaded to Hugging Face.
        selection: the checkpoint, and the changes to its configuration.
        whole_images: whether to label whole images, even if the protocol scores only a
            part of each image.
        stop: request to stop the measurement of batch-norm statistics early; None if
            there is no such request.

    Returns:
        The network, whose variables are replicated on all devices. Batch norms of a
        segmentation network are folded into the convolutions.

    Raises:
        UserError: the checkpoint does not exist, the protocol is unknown, or the
            selection changes a field that may not change.
    """
    protocol = selection.protocol
    check_protocol(protocol)
    checkpoint = read.parse_step(selection.checkpoint)

    def change(saved) -> None:
        if selection.config is not None:
            _take_free_fields(saved, selection.config)
        if selection.folders is not None:
            _take_folders(saved, *selection.folders, selection.split or "folder")
        saved.eval.protocol = protocol or saved.eval.protocol
        config_lib.change(saved, selection.fields)
        if whole_images:
            saved.eval.protocol = protocols.of_whole_images(saved.eval.protocol)

    workdir = folder.local(workdir)
    if folder.is_one(workdir):
        if checkpoint is not None:
            raise UserError(
                f"{workdir} is an exported network, which has no numbered checkpoints;"
                " omit the checkpoint"
            )
        loaded = folder.read(workdir, change)
    else:
        if whole_images and selection.checkpoint is None:
            checkpoint = read.preferred(workdir)
        variables, saved, step = read.restore(workdir, checkpoint)
        if selection.announce and jax.process_index() == 0:
            print(read.describe_step(workdir, step))
        saved = config_lib.completed(saved)
        change(saved)
        loaded = network.build(variables, config_lib.resolve(saved), step)
        _check_classes(loaded, workdir)
    variables = loaded.variables
    config = loaded.config
    if config.eval.precise_norm_steps:
        if selection.folders is not None:
            raise UserError(
                "eval.precise_norm_steps requires the training images of the run, which"
                " --images replaces: set eval.precise_norm_steps to 0"
            )
        dataset = tasks.open_dataset(config)
        variables = precise_norm.recomputed(loaded, dataset, stop or StopRequest())
    if config.task == "segmentation":
        variables = fold_batch_norms(variables, config.model.norm_epsilon)
    return loaded._replace(variables=parallel.replicate(variables))


def _check_classes(loaded: Network, workdir: str) -> None:
    """Raises UserError if the number of classes of the data set has changed.

    A data set of class folders has one class for each folder that exists now.
    """
    classifier = loaded.variables["params"].get("classifier")
    if classifier is None:
        return
    trained, found = classifier["bias"].shape[-1], loaded.info.num_classes
    if trained != found:
        raise UserError(
            f"{workdir} was trained on {trained} classes, but the data set"
            f" {loaded.info.name} now has {found} classes: restore the original class"
            " folders, or train a new run"
        )


def check_protocol(protocol: str | None) -> None:
    """Raises UserError unless `protocol` is None or the name of a protocol."""
    if protocol not in (None, *protocols.PROTOCOLS):
        known = ", ".join(protocols.PROTOCOLS)
        raise UserError(f"--protocol is {protocol!r}; expected one of: {known}")


# Fields that evaluation may change, for moved data or another split.
_FREE = (
    "eval.",
    "data.data_dir",
    "data.folder.colours",
    "data.folder.images",
    "data.folder.masks",
    "data.train_split",
    "data.val_split",
    "data.reader",
)


def _take_folders(saved: ConfigDict, images: str, masks: str, split: str) -> None:
    """Replaces the data set of a run by a folder of images and a folder of masks.

    The masks must use the class ids of the run's data set.

    Args:
        saved: the run's configuration, changed in place.
        images, masks: the folders.
        split: name of the new split, which contains all images of the folder.
    """
    if saved.task != "segmentation":
        raise UserError(
            f"--masks requires a segmentation network, but the task of the run is"
            f" {saved.task!r}: omit --images and --masks"
        )
    if saved.data.name != "folder":
        info = dataset_info(saved.data)
        saved.data.folder.class_names = tuple(info.class_names)
        colours = (f"#{colour.tobytes().hex()}" for colour in info.colours)
        saved.data.folder.colours = tuple(colours)
        saved.data.folder.first_id, saved.data.folder.ignore_ids = 0, (255,)
        saved.data.name, saved.data.reader = "folder", "auto"
    saved.data.folder.images, saved.data.folder.masks = images, masks
    saved.data.train_split = saved.data.val_split = split


def _take_free_fields(saved: ConfigDict, config: ConfigDict) -> None:
    """Copies the fields that evaluation may change from `config` to `saved`.

    Raises:
        UserError: another field of the sections `data` and `model` differs.
    """
    given = config_lib.resolve(config)
    saved_flat, given_flat = config_lib.flatten(saved), config_lib.flatten(given)
    for field, value in given_flat.items():
        if field.startswith(_FREE):
            saved.update_from_flattened_dict({field: value})
        elif field.startswith(("data.", "model.")) and saved_flat.get(field) != value:
            raise UserError(
                f"the checkpoint has {field} = {saved_flat.get(field)!r}, but --config"
                f" has {value!r}; only fields that begin with {', '.join(_FREE)} may"
                " differ"
            )
