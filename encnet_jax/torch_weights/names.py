"""Maps the arrays of a model to their names in weight files of other projects."""

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
    """A pair of functions that convert an array to PyTorch's layout and back."""

    to_torch: Callable[[np.ndarray], np.ndarray]
    from_torch: Callable[[np.ndarray], np.ndarray]


SAME = Layout(lambda x: x, lambda x: x)
CONV = Layout(lambda x: x.transpose(3, 2, 0, 1), lambda x: x.transpose(2, 3, 1, 0))
DENSE = Layout(lambda x: x.transpose(1, 0), lambda x: x.transpose(1, 0))
NEGATED = Layout(lambda x: -x, lambda x: -x)

# (array's name here, number of axes) -> (array's name in PyTorch, layout).
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
    """A naming rule: the PyTorch names of all modules whose path matches a pattern.

    Attributes:
        pattern: regular expression that matches a module's whole path, such as
            'head/classifier/conv'.
        template: name of the PyTorch module, in which {stage}, {i} and so on are
            replaced by the pattern's groups. {block} is the group minus 1, because
            PyTorch counts blocks from 0.
        kernel: layout of the module's kernel; None for PyTorch's standard layout.
    """

    pattern: str
    template: str
    kernel: Layout | None = None


@dataclasses.dataclass(frozen=True)
class Family:
    """A family: the naming scheme of one project's state dicts.

    Attributes:
        name: name on the command line.
        title: name in messages, such as 'a torchvision ResNet'.
        parts: names of the top-level modules that the files contain, such as NETWORK.
        rules: function (section `model` of a configuration) -> Rule objects.
        recognises: function (set of array names) -> whether the names belong to this
            family.
        prefix: prefix of the names of the backbone's arrays.
        heads: pairs (prefix, model.name); the first pair whose prefix occurs in the
            state dict determines model.name.
        switches: tuples (model field, prefix, value if the prefix occurs in the state
            dict, value otherwise). If a field has several tuples, the last tuple whose
            prefix occurs determines the value.
        conventions: pairs (model field, value) for fields that the names do not
            determine.
        join: function (module's name, array's name in the module) -> array's name in
            the file.
        fields: function ({name: shape}, prefix) -> {model field: value}, derived from
            the backbone's arrays; None for the function resnet.fields.
        left_out: regular expression; matching names in the files are ignored.
        task: task of the networks, 'segmentation' or 'classification'.
        look_alikes: description of other networks whose arrays have the same names and
            shapes, so that the files cannot be distinguished; '' if none are known.
        build: function (section `model` of a configuration, num_classes) -> the Flax
            module to which the arrays belong.
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
    """Returns the naming rules of a convolution and the batch norm that follows it.

    Args:
        path: path of the module in this package that contains both layers.
        name: name of the nn.Sequential in PyTorch that contains both layers.
        first: index of the convolution in the nn.Sequential; the norm follows.
    """
    return [
        Rule(f"{path}/conv", f"{name}.{first}"),
        Rule(f"{path}/norm", f"{name}.{first + 1}"),
    ]


def starting_with(start: str) -> Callable[[set[str]], bool]:
    """Returns a function that checks whether any name in a set begins with `start`."""
    return lambda names: any(name.startswith(start) for name in names)


FAMILIES: Registry[Family] = Registry("family of weights")


def register(family: Family) -> None:
    """Registers a family under its name."""
    FAMILIES.register(family.name, family)


class Entry(NamedTuple):
    """One array of a model, with its name in a state dict.

    Attributes:
        name: name of the array in the state dict.
        path: path of the array in the variables, such as ('params', 'head', ...).
        shape: shape of the array in PyTorch's layout.
        layout: conversion to PyTorch's layout and back.
    """

    name: str
    path: tuple[str, ...]
    shape: tuple[int, ...]
    layout: Layout


def table(variables: Mapping, family: Family, model_config) -> list[Entry]:
    """Lists the arrays of a model with their names in the state dicts of a family.

    Args:
        variables: {'params', 'batch_stats'} of arrays or other objects with a shape.
        family: the family; modules of the model outside family.parts are omitted.
        model_config: section `model` of the resolved configuration.

    Returns:
        One Entry for each array; arrays of the same module are adjacent.

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
    """Returns the names of PyTorch's counters num_batches_tracked of all batch norms.

    PyTorch uses a counter only if the momentum of the batch norm is None.
    """
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
    raise UserError(f"the model's module {module} has no equivalent in {family.title}")
