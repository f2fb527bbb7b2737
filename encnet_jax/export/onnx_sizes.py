"""Computes the lengths of array axes in an ONNX graph from the shapes of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from encnet_jax.errors import UserError
from encnet_jax.export.onnx_rules import Tensor, Value


class Side:
    """The length of an array axis, as a value int64[1] of an ONNX graph.

    The operators +, -, * and ** add nodes to the graph and return a new Side.
    """

    def __init__(self, add: Callable, value: Value):
        """Creates a Side; `add` is Graph.add, and `value` is the length, int64[1]."""
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
    """Computes the lengths of array axes in an ONNX graph, each length only once."""

    def __init__(self, add: Callable, inputs: dict[str, Sequence]):
        """Adds nodes that compute the variables in the shapes of the graph's inputs.

        Args:
            add: the method Graph.add.
            inputs: {name of an input: shape}. The length of an axis is an int, a
                variable such as 'height', or a multiple such as '8*height'.
        """
        self._add = add
        self._known: dict[str, Side] = {}
        for name, shape in inputs.items():
            for axis, side in enumerate(shape):
                self._read(name, axis, side)

    def _read(self, name: str, axis: int, side) -> None:
        """Adds nodes that compute the variable in the length `side` of an input's axis.

        If `side` is '8*height', the nodes divide the length of the axis by 8.
        """
        multiple, _, variable = str(side).rpartition("*")
        if isinstance(side, int) or variable in self._known:
            return
        found = self._add("Shape", [Tensor(name, ())], (1,), start=axis, end=axis + 1)
        if multiple:
            found = self._add("Div", [found, np.asarray([int(multiple)])], (1,))
        self._known[variable] = Side(self._add, found)

    def of(self, side) -> Value:
        """Returns the graph's value int64[1] for a length, an int or symbolic.

        Raises:
            UserError: the length is not a polynomial in the variables of the inputs.
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
        """Returns the graph's value int64[n] for n lengths, each an int or symbolic."""
        values = [*map(self.of, sides)]
        arrays = [value for value in values if isinstance(value, np.ndarray)]
        if len(arrays) == len(values):
            return np.concatenate([np.zeros(0, np.int64), *arrays])
        return self._add("Concat", values, (len(values),), axis=0)
