"""Computes the lengths of array axes (sides) in an ONNX graph, from those of inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from encnet_jax.errors import UserError
from encnet_jax.export.onnx_rules import Tensor, Value


class Side:
    """The length of an array axis, as a value int64[1] of the graph.

    The operators +, - and * add nodes that compute the result to the graph.
    """

    def __init__(self, add: Callable, value: Value):
        """Creates a side from `Graph.add` and its value int64[1]."""
        self._add, self.value = add, value

    def _with(self, op: str, other: Side | int, swap: bool = False) -> Side:
        given = other.value if isinstance(other, Side) else np.asarray([other])
        pair = [given, self.value] if swap else [self.value, given]
        return Side(self._add, self._add(op, pair, (1,)))

    def __add__(self, other):
        return self._with("Add", other)

    def __sub__(self, other):
        return self._with("Sub", other)

    def __rsub__(self, other):
        return self._with("Sub", other, swap=True)

    def __mul__(self, other):
        return self._with("Mul", other)

    def __pow__(self, other):
        return self._with("Pow", other)

    def __neg__(self):
        return self * -1

    __radd__, __rmul__ = __add__, __mul__


class Sides:
    """Computes the symbolic lengths of array axes (sides) in the graph, each once."""

    def __init__(self, add: Callable, inputs: dict[str, Sequence]):
        """Adds the nodes that read the variables in the shapes of the graph's inputs.

        Args:
            add: `Graph.add`.
            inputs: {name of an input: its shape}; symbolic sides are for example
                'height' or '8*height'.
        """
        self._add = add
        self._known: dict[str, Side] = {}
        for name, shape in inputs.items():
            for axis, side in enumerate(shape):
                self._read(name, axis, side)

    def _read(self, name: str, axis: int, side) -> None:
        """Stores how to compute the variable in an input's side 'multiple*variable'."""
        multiple, _, variable = str(side).rpartition("*")
        if isinstance(side, int) or variable in self._known:
            return
        found = self._add("Shape", [Tensor(name, ())], (1,), start=axis, end=axis + 1)
        if multiple:
            found = self._add("Div", [found, np.asarray([int(multiple)])], (1,))
        self._known[variable] = Side(self._add, found)

    def of(self, side) -> Value:
        """Returns the value int64[1] of a side, which is symbolic or an int.

        Raises:
            UserError: the side is not a polynomial of the inputs' sides.
        """
        text = str(side).replace("^", "**")
        if text.lstrip("-").isdigit():
            return np.asarray([int(side)], np.int64)
        if text not in self._known:
            try:  # The text of a symbolic dimension is a Python expression.
                self._known[text] = eval(text, {"__builtins__": {}}, self._known)
            except NameError:
                raise UserError(
                    f"the network has an array axis of length {side}, which ONNX export"
                    " does not support: choose a fixed --size HEIGHTxWIDTH"
                ) from None
        return self._known[text].value

    def vector(self, sides: Sequence) -> Value:
        """Returns the values of n sides as int64[n]."""
        values = [*map(self.of, sides)]
        arrays = [value for value in values if isinstance(value, np.ndarray)]
        if len(arrays) == len(values):
            return np.concatenate([np.zeros(0, np.int64), *arrays])
        return self._add("Concat", values, (len(values),), axis=0)
