"""Finds and loads configuration files: Python files with a function get_config."""

import glob
import importlib.metadata
import importlib.util
import os
import pathlib

import ml_collections

from encnet_jax import storage
from encnet_jax.config.forms import get
from encnet_jax.errors import UserError

_DISTRIBUTION = "encnet-jax"
_INSTALLED = ("share", "encnet_jax", "configs")  # As in pyproject.toml.


def folders() -> list[pathlib.Path]:
    """Returns the folders that are searched for configurations given by name.

    These are, if they exist and in this order: `configs` in the current folder;
    `configs` in the repository, if the package runs from a clone; the folder of
    configurations installed with the package.
    """
    root = pathlib.Path(__file__).parents[2]
    found = [pathlib.Path("configs")]
    if (root / "pyproject.toml").is_file():  # A clone, not an installed wheel.
        found.append(root / "configs")
    try:
        installed = importlib.metadata.files(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        installed = []
    places = {
        pathlib.Path(str(f.locate())).resolve().parent
        for f in installed
        if f.parts[-4:-1] == _INSTALLED
    }
    return [folder for folder in [*found, *sorted(places)] if folder.is_dir()]


def named() -> dict[str, pathlib.Path]:
    """Returns the configurations that can be selected by name: {name: file}."""
    found: dict[str, pathlib.Path] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.py")):
            # Skips other files, such as FIFOs or files without read permission.
            if path.is_file() and os.access(path, os.R_OK):
                if "def get_config" in path.read_text(errors="replace"):
                    found.setdefault(path.stem, path)
    return found


def split_spec(spec: str) -> tuple[pathlib.Path, str]:
    """Splits `FILE.py[:arguments]` into the path of the file and the arguments.

    Instead of a file, `spec` may contain the name of a configuration, for example
    `ade20k:resnet101`.

    Raises:
        UserError: neither a file nor a configuration has this name.
    """
    name, _, arguments = spec.partition(":")
    path = pathlib.Path(name)
    if not path.is_file():
        known = named()
        if name not in known:
            listed = ", ".join(known) or "none"
            raise UserError(
                f"no configuration {name}; expected a file or one of: {listed}"
            )
        path = known[name]
    return path.resolve(), arguments


def located(spec: str) -> str:
    """Replaces NAME in `NAME[:arguments]` with the path of the configuration NAME.

    If `spec` begins with a path or an unknown name, `spec` is returned unchanged.
    """
    name, colon, arguments = spec.partition(":")
    if pathlib.Path(name).is_file() or name not in (known := named()):
        return spec
    return f"{known[name]}{colon}{arguments}"


def copy(name: str, target: str) -> None:
    """Copies a configuration file to a new file for editing.

    Args:
        name: name or file of the configuration, without arguments.
        target: the new file; its name must end with .py.

    Raises:
        UserError: the configuration does not exist, or `name` contains arguments; or
            `target` exists, does not end with .py, or its folder does not exist.
    """
    source, arguments = split_spec(name)
    path = pathlib.Path(target)
    if arguments:
        raise UserError(
            f"{name} has arguments; expected only a name or a file, because the whole"
            f" file is copied: remove ':{arguments}'"
        )
    if path.suffix != ".py":
        raise UserError(f"the new file is {target}; expected a name that ends with .py")
    if path.exists():
        raise UserError(f"{target} already exists: choose another name")
    if not path.parent.is_dir():
        raise UserError(f"the folder {path.parent} does not exist: create it first")
    storage.write_whole(path, storage.read_bytes(source))


def load(spec: str) -> ml_collections.ConfigDict:
    """Returns the configuration defined by `FILE.py[:arguments]`.

    Calls the file's function get_config, with the arguments if there are any.

    Raises:
        UserError: the file does not exist, does not end with .py, or does not define
            get_config.
    """
    path, arguments = split_spec(spec)
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    if module_spec is None or module_spec.loader is None:
        raise UserError(f"cannot load {path}; expected a name that ends with .py")
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(
            f"{path} defines no function get_config(arguments); see configs/default.py"
        )
    config = module.get_config(arguments) if arguments else module.get_config()
    locate_data(config, path.parent)
    return config


def locate_data(config: ml_collections.ConfigDict, folder: pathlib.Path) -> None:
    """Finds relative data paths in the folder of the configuration file.

    Prepends `folder` to each relative path that exists in `folder`, but not in the
    current folder. Other paths are unchanged.

    Args:
        config: changed in place.
        folder: folder of the configuration file.
    """
    for field in ("data.data_dir", "data.folder.images", "data.folder.masks"):
        try:
            given = get(config, field)
        except (AttributeError, KeyError):
            continue  # A later check reports this.
        if not isinstance(given, str) or not given or "://" in given:
            continue
        pattern = "*".join(map(glob.escape, given.split("{split}")))
        if not glob.glob(pattern) and glob.glob(pattern, root_dir=folder):
            config.update_from_flattened_dict({field: str(folder / given)})
