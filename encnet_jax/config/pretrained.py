"""The model follows the weights that a configuration names in `init_from`."""

from collections.abc import Mapping
from typing import Any

import ml_collections
from etils import epath

from encnet_jax import storage
from encnet_jax.config.forms import get
from encnet_jax.errors import UserError
from encnet_jax.weights import IMAGENET, Published, cache, imagenet

# Fields of a backbone; the other fields of a whole network belong to its heads.
_OF_BACKBONE = ("model.backbone", "model.stem", "model.stem_width", "model.avg_down")


def follow(config: ml_collections.ConfigDict) -> None:
    """Sets the fields that published weights imply, and names the weights.

    `init_from` may be 'imagenet': the preferred ImageNet weights that fit the backbone
    and the fields that are set. A run's folder decides backbone fields that are not
    set. Nothing is downloaded.

    Args:
        config: fields that are not set are None; changed in place.

    Raises:
        UserError: the weights do not exist, or a field is set to a value that they
            contradict.
    """
    source = config.init_from
    if source == IMAGENET:
        entry = imagenet({name: get(config, name) for name in _OF_BACKBONE})
        config.init_from = entry.name
    elif cache.is_name(source):
        entry = cache.find(source.partition("#")[0])
    else:
        _follow_run(config)
        return
    implied = _implied(entry, config.init_skip)
    conflicts = {
        name: value
        for name, value in implied.items()
        if get(config, name) not in (None, value)
    }
    if conflicts:
        found = ", ".join(f"{name} is {get(config, name)!r}" for name in conflicts)
        flags = " ".join(
            f"--config.{name}={value}" for name, value in conflicts.items()
        )
        raise UserError(
            f"{found}, which does not match the weights init_from={entry.name}: add"
            f" {flags}, or choose other weights (encnet weights list)"
        )
    with config.unlocked():
        config.update_from_flattened_dict(implied)


def _follow_run(config: ml_collections.ConfigDict) -> None:
    """Copies backbone fields that are not set from the folder in `init_from`.

    The folder may be that of a run, or an exported one.
    """
    path = epath.Path(config.init_from) / "config.json"
    if not config.init_from or not path.exists():
        return
    content = storage.read_json(path)
    # An exported folder has its configuration next to other facts.
    saved = content.get("configuration", content).get("model", {})
    fields = {
        name: saved[name.removeprefix("model.")]
        for name in _OF_BACKBONE
        if get(config, name) is None and name.removeprefix("model.") in saved
    }
    with config.unlocked():
        config.update_from_flattened_dict(fields)


def _implied(entry: Published, skipped: str) -> Mapping[str, Any]:
    """Returns the fields of a network that uses as many published weights as possible.

    Args:
        entry: the weights.
        skipped: `init_skip`; if it names the head, only backbone fields are returned.
    """
    whole = entry.dataset and "head" not in [x.strip() for x in skipped.split(",")]
    return {
        name: value
        for name, value in entry.fields.items()
        if name in _OF_BACKBONE or (whole and not name.startswith("eval."))
    }
