"""The table that maps a model's arrays to a family's names, for both directions."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import flax.linen as nn
import numpy as np
from flax import traverse_util

from encnet_jax import models
from encnet_jax.errors import UserError
from encnet_jax.registry import Registry


class Layout(NamedTuple):
    """Converts an array to PyTorch's layout and back; the functions are inverses."""

    to_torch: Callable[[np.ndarray], np.ndarray]
    from_torch: Callable[[np.ndarray], np.ndarray]


SAME = Layout(lambda x: x, lambda x: x)
CONV = Layout(lambda x: x.transpose(3, 2, 0, 1), lambda x: x.transpose(2, 3, 1, 0))
DENSE = Layout(lambda x: x.transpose(1, 0), lambda x: x.transpose(1, 0))
NEGATED = Layout(lambda x: -x, lambda x: -x)

# Our leaf name and number of axes -> PyTorch's leaf name and the layout.
_LEAVES = {
    ("kernel", 4): ("weight", CONV),
    ("kernel", 2): ("weight", DENSE),
    ("scale", 1): ("weight", SAME),
    ("bias", 1): ("bias", SAME),
    ("mean", 1): ("running_mean", SAME),
    ("var", 1): ("running_var", SAME),
    ("codewords", 2): ("codewords", SAME),
    ("smoothing", 1): ("scale", NEGATED),
    ("gamma", 1): ("gamma", SAME),
}


class Rule(NamedTuple):
    """Maps modules whose path matches `pattern` to a PyTorch module's name.

    Attributes:
        pattern: regular expression of a whole path such as 'head/classifier/conv'.
        template: name of the PyTorch module, with the pattern's groups as {stage}, {i}
            and so on; {block} is counted from 0 there and from 1 here.
        kernel: layout of the module's kernel; None for the usual layout.
    """

    pattern: str
    template: str
    kernel: Layout | None = None


@dataclasses.dataclass(frozen=True)
class Family:
    """A naming scheme of state dicts.

    Attributes:
        name: name on the command line.
        title: name in messages.
        parts: top-level modules of the model that the files contain, such as NETWORK.
        rules: function of the model's configuration that returns the rules.
        recognises: function of a state dict's names: whether they are this family's.
        prefix: prefix of the backbone's names.
        heads: pairs (start of a name, model name); the first start that occurs in the
            state dict determines the head.
        switches: (model field, start of a name, value if it occurs, value if not); if
            several starts of a field occur, the last one counts.
        conventions: values of model fields that cannot be derived from names.
        join: (module's name, leaf's name) -> name of an array.
        fields: ({name: shape}, prefix) -> the model fields that can be derived from a
            state dict's backbone; None: as for PyTorch's ResNets.
        left_out: regular expression of names in files that are not used.
        task: task of the networks.
        look_alikes: other networks with the same names and shapes, which cannot be
            distinguished by their files; '' if none are known.
        build: (model's configuration, num_classes) -> module whose arrays are named.
    """

    name: str
    title: str
    parts: tuple[str, ...]
    rules: Callable[..., Iterable[Rule]]
    recognises: Callable[[set[str]], bool]
    prefix: str = ""
    heads: tuple[tuple[str, str], ...] = ()
    switches: tuple[tuple[str, str, object, object], ...] = ()
    conventions: tuple[tuple[str, object], ...] = ()
    join: Callable[[str, str], str] = "{}.{}".format
    fields: Callable[[dict, str], dict[str, object]] | None = None
    left_out: str = r"(?!)"
    task: str = "segmentation"
    look_alikes: str = ""
    build: Callable[..., nn.Module] = models.build


NETWORK = ("backbone", "head", "aux_head")


def unit(path: str, name: str, first: int = 0) -> list[Rule]:
    """Returns the rules of a convolution and the batch norm that follows it."""
    return [
        Rule(f"{path}/conv", f"{name}.{first}"),
        Rule(f"{path}/norm", f"{name}.{first + 1}"),
    ]


def starting_with(start: str) -> Callable[[set[str]], bool]:
    """Returns a condition: some name of a state dict starts with `start`."""
    return lambda names: any(name.startswith(start) for name in names)


FAMILIES: Registry[Family] = Registry("family of weights")


def register(family: Family) -> None:
    """Registers a family by its name."""
    FAMILIES.register(family.name, family)


class Entry(NamedTuple):
    """One array: its name in the state dict and its path in the variables."""

    name: str
    path: tuple[str, ...]
    shape: tuple[int, ...]  # In PyTorch's layout.
    layout: Layout


def table(variables: Mapping, family: Family, model_config) -> list[Entry]:
    """Lists every array of a model with its path in the variables and its family name.

    Args:
        variables: {'params', 'batch_stats'} of arrays or other objects with a shape.
        family: determines the names; parts of the model that it lacks are left out.
        model_config: `config.model`, resolved.

    Returns:
        The entries, grouped by module.

    Raises:
        UserError: the family has no name for a module of the model.
    """
    rules = tuple(family.rules(model_config))
    entries = []
    leaves = traverse_util.flatten_dict(dict(variables))
    for path in sorted(leaves, key=lambda path: path[1:]):
        leaf = leaves[path]
        if path[1] in family.parts:
            module, kernel = _translate(path[1:-1], rules, family)
            name, layout = _LEAVES[path[-1], len(leaf.shape)]
            if path[-1] == "kernel" and kernel is not None:
                layout = kernel
            shape = layout.to_torch(np.broadcast_to(np.float32(0), leaf.shape)).shape
            entries.append(Entry(family.join(module, name), path, shape, layout))
    return entries


def counters(entries: Iterable[Entry]) -> list[str]:
    """Returns the names of PyTorch's batch counters (unused if momentum is set)."""
    suffix = "running_mean"
    return [
        e.name.removesuffix(suffix) + "num_batches_tracked"
        for e in entries
        if e.name.endswith(suffix)
    ]


def _translate(
    path: tuple[str, ...], rules: tuple[Rule, ...], family: Family
) -> tuple[str, Layout | None]:
    module = "/".join(path)
    for rule in rules:
        match = re.fullmatch(rule.pattern, module)
        if match:
            groups = match.groupdict()
            if "block" in groups:
                groups["block"] = int(groups["block"]) - 1
            return rule.template.format(**groups), rule.kernel
    raise UserError(f"{family.title} has no counterpart of this model's {module}")
