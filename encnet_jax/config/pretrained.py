"""Sets the fields that the pre-trained weights named by `init_from` require."""

from collections.abc import Mapping
from typing import Any

import ml_collections
from etils import epath

from encnet_jax import storage
from encnet_jax.config import checks
from encnet_jax.config.forms import get
from encnet_jax.errors import UserError
from encnet_jax.storage import lookup, schema
from encnet_jax.weights import IMAGENET, Published, cache, imagenet

# Fields of a backbone; all other fields of a network belong to its heads.
_OF_BACKBONE = ("model.backbone", "model.stem", "model.stem_width", "model.avg_down")


def follow(config: ml_collections.ConfigDict) -> None:
    """Sets the fields that the weights named by `init_from` require.

    If `init_from` is 'imagenet', it is replaced with the name of the preferred ImageNet
    weights that match the backbone fields already set. If `init_from` is the folder of
    a run, backbone fields that are None are copied from the run's configuration.

    Args:
        config: changed in place; fields that are not set are None.

    Raises:
        UserError: no published weights have the name in `init_from`, or a field is set
            to a value that does not match the weights.
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
    """Copies unset backbone fields from the run or export in the folder `init_from`.

    Raises:
        UserError: the folder's config.json is not a valid configuration.
    """
    path = epath.Path(config.init_from) / "config.json"
    if not config.init_from or not lookup.exists(path):
        return
    content = storage.read_json(path)
    # In an export, the configuration is one of several entries.
    whole = content.get("configuration", content)
    wrong = schema.problem(whole, {"model?": dict}, "the configuration")
    if wrong:
        raise UserError(
            f"{path}: {wrong}; restore the file, or choose another init_from"
        )
    saved = whole.get("model", {})
    fields = {
        name: saved[name.removeprefix("model.")]
        for name in _OF_BACKBONE
        if get(config, name) is None and name.removeprefix("model.") in saved
    }
    try:
        checks.check_each(fields)
    except UserError as error:  # Its message does not name the file.
        raise UserError(f"{path}: {error}") from None
    with config.unlocked():
        config.update_from_flattened_dict(fields)


def _implied(entry: Published, skipped: str) -> Mapping[str, Any]:
    """Returns the field values that published weights require: {field name: value}.

    Args:
        entry: the published weights.
        skipped: value of `init_skip`; if it lists 'head', only backbone fields are
            returned.
    """
    whole = entry.dataset and "head" not in [x.strip() for x in skipped.split(",")]
    return {
        name: value
        for name, value in entry.fields.items()
        if name in _OF_BACKBONE or (whole and not name.startswith("eval."))
    }
