"""Selects parameters by patterns of names, such as 'backbone/stage1_*'."""

import difflib
import fnmatch
from collections.abc import Iterable

import jax

from encnet_jax.errors import UserError


def matching(params, pattern: str, field: str):
    """Selects the parameters whose name matches a pattern.

    Args:
        params: tree of parameters or shapes, of which only the names are used.
        pattern: pattern in fnmatch's syntax for names of arrays or modules: 'head',
            'backbone/stem', 'backbone/stage[12]_*', '*/bias'. A matching module selects
            all arrays in the module.
        field: name of the configuration field, for the error message.

    Returns:
        Tree of bools with the structure of `params`; True where the pattern matches.

    Raises:
        UserError: the pattern matches no parameter; the message lists similar names.
    """
    found = jax.tree_util.tree_map_with_path(
        lambda path, _: matches(path, pattern), params
    )
    if not any(jax.tree.leaves(found)):
        paths, _ = jax.tree_util.tree_flatten_with_path(params)
        raise UserError(
            f"{field} contains {pattern!r}, which matches no parameter; similar names:"
            f" {_near(pattern, (path for path, _ in paths))}"
        )
    return found


def matches(path, pattern: str) -> bool:
    """Returns whether a pattern matches an array or a module that contains the array.

    Args:
        path: path of the array in the tree of parameters.
        pattern: see `matching`.
    """
    return any(fnmatch.fnmatchcase(name, pattern) for name in _prefixes(path))


def _prefixes(path) -> list[str]:
    """Returns the names of all modules that contain an array, then the array's name.

    Example: ['backbone', 'backbone/stem', 'backbone/stem/kernel'].
    """
    names = [part.key for part in path]
    return ["/".join(names[: i + 1]) for i in range(len(names))]


def _near(pattern: str, paths: Iterable) -> str:
    names = sorted({prefix for path in paths for prefix in _prefixes(path)})
    close = difflib.get_close_matches(pattern, names, n=4, cutoff=0.5)
    return ", ".join(close or [name for name in names if "/" not in name])
