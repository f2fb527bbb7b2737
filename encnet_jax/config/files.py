"""Configuration files: Python files with a function get_config."""

import importlib.util
import pathlib

import ml_collections

from encnet_jax.errors import UserError


def split_spec(spec: str) -> tuple[pathlib.Path, str]:
    """Returns the file and the arguments of `FILE.py[:arguments]`.

    Raises:
        UserError: the file does not exist.
    """
    name, _, arguments = spec.partition(":")
    path = pathlib.Path(name).resolve()
    if not path.is_file():
        files = sorted(pathlib.Path("configs").glob("*.py"))
        known = ", ".join(str(f) for f in files if "def get_config" in f.read_text())
        raise UserError(f"no configuration {name}; expected one of: {known or 'none'}")
    return path, arguments


def load(spec: str) -> ml_collections.ConfigDict:
    """Loads `FILE.py[:arguments]` and returns the result of get_config(arguments).

    Raises:
        UserError: the file does not exist or has no get_config.
    """
    path, arguments = split_spec(spec)
    module_spec = importlib.util.spec_from_file_location(path.stem, path)
    if module_spec is None or module_spec.loader is None:
        raise UserError(f"{path} is not a Python file; expected a name such as a.py")
    module = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"{path} has no function get_config(arguments)")
    return module.get_config(arguments) if arguments else module.get_config()
