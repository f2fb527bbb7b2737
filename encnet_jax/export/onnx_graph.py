"""Exports to ONNX: converts the JAX primitives of a traced program to ONNX nodes.

Values that depend only on constants are computed during the conversion. Broadcasting is
left to ONNX where ONNX and JAX broadcast in the same way.

Only the primitives that the networks of this package use are supported. The package
jax2onnx is not used: in a network exported with jax2onnx 0.17, only 69 % of the pixels
had the right label; in the same network exported with this converter, 100 %.
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from encnet_jax.errors import UserError
from encnet_jax.export import FORMATS
from encnet_jax.export.onnx_rules import ELEMENTWISE, RULES, Tensor, Value
from encnet_jax.export.onnx_sizes import Sides
from encnet_jax.export.program import Program
from encnet_jax.models.by_platform import compiled_for

OPSET = 18


@FORMATS.register(
    "onnx",
    load="encnet_jax.export.onnx_graph:load",
    platforms=("cpu",),
    packages=("jax", "onnx", "onnxruntime"),
    readable="runtimes keep reading older operator sets",
)
def write(program: Program, about: dict) -> bytes:
    """Returns the contents of an ONNX file that accepts any number of images.

    Args:
        program: the program to export.
        about: JSON-ready metadata, stored in the model's metadata_props.

    Raises:
        UserError: the package onnx is missing, or the network uses a JAX primitive that
            this converter does not support.
    """
    try:
        import onnx
        from onnx import helper, numpy_helper
    except ImportError:
        raise UserError(
            "the package onnx is not installed: pip install onnx onnxruntime"
            " (requirements/export.txt)"
        ) from None
    given = program.inputs()
    with compiled_for("onnx"):
        trace = jax.make_jaxpr(program.run, return_shape=True)
        traced, outputs = trace(*given.values())
    graph = Graph({name: x.shape for name, x in given.items()})
    tensors: list[Value] = [Tensor(name, _shape(x.shape)) for name, x in given.items()]
    found = graph.evaluate(traced.jaxpr, traced.consts, tensors)
    names = sorted(outputs)  # JAX flattens a dict in this order.
    described = []
    for name, value in zip(names, found, strict=True):
        whole = outputs[name]
        value = graph.expanded(value, whole.shape)
        graph.add("Identity", [value], value.shape, name=name)
        described.append(_info(name, whole))
    inputs = [_info(name, x) for name, x in given.items()]
    initial = [numpy_helper.from_array(x, name) for name, x in graph.constants.items()]
    nodes = [
        helper.make_node(op, inputs_, [output], **attributes)
        for op, inputs_, output, attributes in graph.nodes
    ]
    model = helper.make_model(
        helper.make_graph(nodes, "encnet", inputs, described, initial),
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="encnet_jax",
        ir_version=9,  # Supported by every onnxruntime with this opset.
    )
    helper.set_model_props(
        model,
        {k: v if isinstance(v, str) else json.dumps(v) for k, v in about.items()},
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def load(file: str) -> tuple[Callable, str]:
    """Opens an ONNX file in ONNX Runtime.

    Returns:
        (run, platform). `run` maps the input arrays to {name: output}; `platform` is
        'cpu'.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    given = [each.name for each in session.get_inputs()]

    def run(*inputs):
        found = session.run(names, dict(zip(given, inputs, strict=True)))
        return dict(zip(names, found, strict=True))

    return run, "cpu"


def _shape(shape: Sequence) -> tuple[int | None, ...]:
    return tuple(side if isinstance(side, int) else None for side in shape)


def _info(name: str, array: jax.ShapeDtypeStruct):
    from onnx import helper

    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(array.dtype))
    sides = [side if isinstance(side, int) else str(side) for side in array.shape]
    return helper.make_tensor_value_info(name, dtype, sides)


class Graph:
    """An ONNX graph, to which the nodes of a jaxpr are added.

    Attributes:
        nodes: tuples (operator, names of inputs, name of the output, attributes).
        constants: the constant arrays, by name.
        sides: the lengths of array axes, which nodes of the graph compute.
    """

    def __init__(self, inputs: dict[str, Sequence]) -> None:
        """Creates a graph without nodes; `inputs` maps names of inputs to shapes."""
        self.nodes: list[tuple[str, list[str], str, dict]] = []
        self.constants: dict[str, np.ndarray] = {}
        self.sides = Sides(self.add, inputs)

    def add(
        self, op: str, inputs: Sequence[Value], shape, name: str = "", **attributes
    ) -> Tensor:
        """Adds a node with one output, and returns this output.

        Args:
            op: the ONNX operator.
            inputs: the inputs of the node.
            shape: shape of the output, see Tensor.
            name: name of the output; if empty, a name is generated.
            **attributes: attributes of the node.
        """
        name = name or f"x{len(self.nodes)}"
        names = [self._name(value) for value in inputs]
        self.nodes.append((op, names, name, attributes))
        return Tensor(name, tuple(shape))

    def _name(self, value: Value) -> str:
        if isinstance(value, Tensor):
            return value.name
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(value, order="C")  # Keeps scalars 0-d.
        return name

    def expanded(self, value: Value, sides: Sequence) -> Value:
        """Broadcasts a value to the shape `sides`."""
        shape = _shape(sides)
        if isinstance(value, np.ndarray) and None not in shape:
            return np.broadcast_to(value, sides)
        if value.shape == shape:
            return value
        # In a shape for Expand, 1 keeps the size of an axis.
        target = [
            1 if n == o else side
            for n, o, side in zip(shape, value.shape, sides, strict=True)
        ]
        return self.add("Expand", [value, self.sides.vector(target)], shape)

    def evaluate(self, jaxpr, consts, arguments: list[Value]) -> list[Value]:
        """Adds the nodes of a jaxpr, and returns the jaxpr's outputs.

        Args:
            jaxpr: the jaxpr to convert.
            consts: values of the jaxpr's constants.
            arguments: values of the jaxpr's inputs.
        """
        known: dict[Any, Value] = dict(
            zip(jaxpr.constvars, map(np.asarray, consts), strict=True)
        )
        known |= dict(zip(jaxpr.invars, arguments, strict=True))

        def read(atom) -> Value:
            if hasattr(atom, "val"):  # Without a dtype, numbers become 64-bit.
                return np.asarray(atom.val, atom.aval.dtype)
            return known[atom]

        for equation in jaxpr.eqns:
            results = self._equation(equation, [*map(read, equation.invars)])
            known |= dict(zip(equation.outvars, results, strict=True))
        return [*map(read, jaxpr.outvars)]

    def _equation(self, equation, inputs: list[Value]) -> list[Value]:
        name, params = equation.primitive.name, equation.params
        inner = _called(name, params)
        if inner is not None:
            return self.evaluate(inner.jaxpr, inner.consts, inputs)
        shape = _shape(equation.outvars[0].aval.shape)
        lazy = name in ("broadcast_in_dim", *ELEMENTWISE)
        constant = not any(isinstance(value, Tensor) for value in inputs)
        constant &= None not in shape and name not in (
            "broadcast_in_dim",
            "dim_as_value",
        )
        if constant or not lazy:
            inputs = [
                self.expanded(value, atom.aval.shape)
                for value, atom in zip(inputs, equation.invars, strict=True)
            ]
        if constant:
            found = equation.primitive.bind(*inputs, **params)
            found = found if equation.primitive.multiple_results else [found]
            return [np.asarray(each) for each in found]
        if name not in RULES:
            raise UserError(
                f"the network uses the JAX primitive {name!r}, which ONNX export does"
                " not support: use --format stablehlo"
            )
        return [RULES[name](self, inputs, shape, params, equation)]


def _called(name: str, params: dict):
    """Returns the jaxpr that a primitive calls; None if the primitive calls none."""
    if name in ("scan", "while", "cond"):
        raise UserError(
            f"the network has a loop or a branch ({name!r}), which ONNX export does not"
            " support: use --format stablehlo"
        )
    for key in ("call_jaxpr", "jaxpr", "fun_jaxpr"):
        if key in params:
            return params[key]
    return None
