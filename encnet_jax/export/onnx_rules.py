"""Rules that convert JAX primitives to ONNX nodes.

RULES maps the name of a primitive to its rule, a function that adds nodes to a graph
and returns the output. The arguments of a rule are the graph, the input values, the
shape of the output, and the parameters and the equation of the primitive. Only the
primitives that networks use in evaluation have rules.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from encnet_jax.errors import UserError


class Tensor(NamedTuple):
    """An array that is computed when the graph runs; constants are np.ndarray instead.

    Attributes:
        name: name of the value in the graph.
        shape: the length of each axis; None for a length that is known only when the
            graph runs. An axis that JAX broadcasts may have the length 1 here.
    """

    name: str
    shape: tuple[int | None, ...]


Value = Tensor | np.ndarray


def _elementwise(op: str, **attributes) -> Callable:
    def rule(graph, inputs, shape, params, equation):
        own = tuple(
            next((side for side in sides if side != 1), 1)
            for sides in zip(*(_padded(x, len(shape)) for x in inputs), strict=True)
        )
        return graph.add(op, inputs, own, **attributes)

    return rule


def _padded(value: Value, rank: int) -> tuple:
    shape = tuple(value.shape)
    return (1,) * (rank - len(shape)) + shape


def _power(graph, inputs, shape, params, equation):
    (x,) = inputs
    if params["y"] == 2:
        return graph.add("Mul", [x, x], x.shape)
    exponent = np.asarray(params["y"], equation.outvars[0].aval.dtype)
    return graph.add("Pow", [x, exponent], x.shape)


def _rsqrt(graph, inputs, shape, params, equation):
    root = graph.add("Sqrt", inputs, inputs[0].shape)
    return graph.add("Reciprocal", [root], root.shape)


def _is_finite(graph, inputs, shape, params, equation):
    kinds = [graph.add(op, inputs, inputs[0].shape) for op in ("IsNaN", "IsInf")]
    either = graph.add("Or", kinds, inputs[0].shape)
    return graph.add("Not", [either], either.shape)


def _cast(graph, inputs, shape, params, equation):
    from onnx import helper

    to = helper.np_dtype_to_tensor_dtype(np.dtype(params["new_dtype"]))
    return graph.add("Cast", inputs, inputs[0].shape, to=to)


def _same(graph, inputs, shape, params, equation):
    return inputs[0]


def _select(graph, inputs, shape, params, equation):
    which, if_false, if_true = inputs
    swapped = [which, if_true, if_false]
    return _elementwise("Where")(graph, swapped, shape, params, equation)


def _iota(graph, inputs, shape, params, equation):
    from onnx import helper

    axis = params["dimension"]
    end = graph.sides.of(params["shape"][axis])
    end = graph.add("Squeeze", [end], ())
    found = graph.add("Range", [np.int64(0), end, np.int64(1)], (None,))
    to = helper.np_dtype_to_tensor_dtype(np.dtype(params["dtype"]))
    found = graph.add("Cast", [found], found.shape, to=to)
    sides = [1] * len(shape)
    sides[axis] = -1
    own = [shape[i] if i == axis else 1 for i in range(len(shape))]
    return graph.add("Reshape", [found, np.asarray(sides, np.int64)], own)


def _side(graph, inputs, shape, params, equation):
    from onnx import helper

    value = graph.add("Squeeze", [graph.sides.of(params["dim"])], ())
    dtype = np.dtype(equation.outvars[0].aval.dtype)
    return graph.add("Cast", [value], (), to=helper.np_dtype_to_tensor_dtype(dtype))


def _broadcast(graph, inputs, shape, params, equation):
    (x,) = inputs
    places = params["broadcast_dimensions"]
    sides = [1] * len(shape)
    for place, side in zip(places, x.shape, strict=True):
        sides[place] = side
    if isinstance(x, np.ndarray):
        return x.reshape(sides)
    missing = [i for i in range(len(shape)) if i not in places]
    if not missing:
        return x
    return graph.add("Unsqueeze", [x, np.asarray(missing, np.int64)], sides)


def _reshape(graph, inputs, shape, params, equation):
    sides = [-1 if side is None else side for side in shape]
    if sides.count(-1) > 1:
        sides = equation.outvars[0].aval.shape
    return graph.add("Reshape", [inputs[0], graph.sides.vector(sides)], shape)


def _transpose(graph, inputs, shape, params, equation):
    return graph.add("Transpose", inputs, shape, perm=list(params["permutation"]))


def _concatenate(graph, inputs, shape, params, equation):
    return graph.add("Concat", inputs, shape, axis=params["dimension"])


def _slice(graph, inputs, shape, params, equation):
    x = inputs[0]
    steps = params["strides"] or (1,) * len(shape)
    sides = equation.invars[0].aval.shape
    cut = [
        (axis, start, end, step)
        for axis, (start, end, step) in enumerate(
            zip(params["start_indices"], params["limit_indices"], steps, strict=True)
        )
        if (start, end, step) != (0, sides[axis], 1)
    ]
    if not cut:
        return x
    axes, starts, ends, steps = map(graph.sides.vector, zip(*cut, strict=True))
    return graph.add("Slice", [x, starts, ends, axes, steps], shape)


def _pad(graph, inputs, shape, params, equation):
    x, value = inputs
    low, high, between = zip(*params["padding_config"], strict=True)
    if any(between):
        raise UserError(
            "the network inserts padding between pixels, which ONNX export does not"
            " support: use --format stablehlo"
        )
    return graph.add("Pad", [x, graph.sides.vector([*low, *high]), value], shape)


def _reduce(op: str) -> Callable:
    def rule(graph, inputs, shape, params, equation):
        axes = np.asarray(params["axes"], np.int64)
        return graph.add(op, [inputs[0], axes], shape, keepdims=0)

    return rule


def _reduce_max(graph, inputs, shape, params, equation):
    largest = _reduce("ReduceMax")(graph, inputs, shape, params, equation)
    dtype = equation.outvars[0].aval.dtype
    if not np.issubdtype(dtype, np.floating):
        return largest
    # ONNX runtimes ignore NaN in a maximum: pixels with NaN scores would get a class.
    total = _reduce("ReduceSum")(graph, inputs, shape, params, equation)
    unknown = graph.add("IsNaN", [total], shape)
    return graph.add("Where", [unknown, np.asarray(np.nan, dtype), largest], shape)


def _reduce_or(graph, inputs, shape, params, equation):
    from onnx import TensorProto

    # ONNX runtimes cannot compute the maximum of booleans.
    numbers = graph.add("Cast", [inputs[0]], inputs[0].shape, to=TensorProto.INT32)
    any_of = _reduce("ReduceMax")(graph, [numbers], shape, params, equation)
    return graph.add("Cast", [any_of], shape, to=TensorProto.BOOL)


def _not_equal(graph, inputs, shape, params, equation):
    equal = _elementwise("Equal")(graph, inputs, shape, params, equation)
    return graph.add("Not", [equal], equal.shape)


def _argmax(graph, inputs, shape, params, equation):
    from onnx import helper

    (axis,) = params["axes"]
    if equation.invars[0].aval.dtype == bool:  # ArgMax takes numbers only.
        to = helper.np_dtype_to_tensor_dtype(np.dtype(np.int32))
        inputs = [graph.add("Cast", inputs, inputs[0].shape, to=to)]
    found = graph.add("ArgMax", inputs, shape, axis=axis, keepdims=0)
    to = helper.np_dtype_to_tensor_dtype(np.dtype(params["index_dtype"]))
    return graph.add("Cast", [found], shape, to=to)


def _dot(graph, inputs, shape, params, equation):
    (left_sum, right_sum), (left_batch, right_batch) = params["dimension_numbers"]
    letters = iter("abcdefghijklmnop")
    left, right = ([""] * len(x.shape) for x in inputs)
    shared = [*zip(left_batch, right_batch, strict=True)]
    for i, j in [*shared, *zip(left_sum, right_sum, strict=True)]:
        left[i] = right[j] = next(letters)
    result = [left[i] for i in left_batch]
    for side in (left, right):
        for i, letter in enumerate(side):
            if not letter:
                side[i] = next(letters)
                result.append(side[i])
    equation_ = f"{''.join(left)},{''.join(right)}->{''.join(result)}"
    return graph.add("Einsum", inputs, shape, equation=equation_)


def _spatial(graph, op, x, extra, order, back, shape, **attributes):
    """Adds a node that operates on [B, C, H, W] arrays, and the necessary transposes.

    Args:
        graph: the graph.
        op: the ONNX operator.
        x: the input array, with the axes in JAX's order.
        extra: further inputs of the node, such as the kernel.
        order: the indices of the axes B, C, H and W of `x`.
        back: the indices of the axes B, C, H and W of the output in JAX.
        shape: shape of the output in JAX.
        **attributes: attributes of the node.
    """
    inverse = [*np.argsort(back)]
    first = graph.add("Transpose", [x], [x.shape[i] for i in order], perm=[*order])
    inside = [shape[i] for i in back]
    found = graph.add(op, [first, *extra], inside, **attributes)
    return graph.add("Transpose", [found], shape, perm=[int(i) for i in inverse])


def _convolve(graph, inputs, shape, params, equation):
    x, kernel = inputs
    numbers = params["dimension_numbers"]
    if any(side != 1 for side in params["lhs_dilation"]) or isinstance(kernel, Tensor):
        raise UserError(
            "the network has a transposed convolution, or a kernel that depends on the"
            " images; ONNX export supports neither: use --format stablehlo"
        )
    low, high = zip(*params["padding"], strict=True)
    return _spatial(
        graph,
        "Conv",
        x,
        [np.transpose(kernel, numbers.rhs_spec)],
        numbers.lhs_spec,
        numbers.out_spec,
        shape,
        pads=[*low, *high],
        strides=[*params["window_strides"]],
        dilations=[*params["rhs_dilation"]],
        group=params["feature_group_count"],
    )


def _pool(op: str) -> Callable:
    def rule(graph, inputs, shape, params, equation):
        window, strides = params["window_dimensions"], params["window_strides"]
        low, high = zip(*params["padding"], strict=True)
        nhwc = (0, 3, 1, 2)
        attributes = {"count_include_pad": 1} if op == "AveragePool" else {}
        found = _spatial(
            graph,
            op,
            inputs[0],
            [],
            nhwc,
            nhwc,
            shape,
            kernel_shape=[*window[1:3]],
            strides=[*strides[1:3]],
            pads=[*low[1:3], *high[1:3]],
            **attributes,
        )
        if op == "MaxPool":
            return found
        # JAX computes the sum of the window, ONNX the mean.
        return graph.add("Mul", [found, np.float32(window[1] * window[2])], shape)

    return rule


ELEMENTWISE = {
    "add": _elementwise("Add"),
    "sub": _elementwise("Sub"),
    "mul": _elementwise("Mul"),
    "div": _elementwise("Div"),
    "max": _elementwise("Max"),
    "min": _elementwise("Min"),
    "pow": _elementwise("Pow"),
    "neg": _elementwise("Neg"),
    "abs": _elementwise("Abs"),
    "sign": _elementwise("Sign"),
    "rem": _elementwise("Mod", fmod=1),
    "ceil": _elementwise("Ceil"),
    "select_n": _select,
    "dim_as_value": _side,
    "exp": _elementwise("Exp"),
    "log": _elementwise("Log"),
    "sqrt": _elementwise("Sqrt"),
    "tanh": _elementwise("Tanh"),
    "logistic": _elementwise("Sigmoid"),
    "eq": _elementwise("Equal"),
    "ne": _not_equal,
    "and": _elementwise("And"),
    "not": _elementwise("Not"),
    "gt": _elementwise("Greater"),
    "ge": _elementwise("GreaterOrEqual"),
    "lt": _elementwise("Less"),
    "le": _elementwise("LessOrEqual"),
    "rsqrt": _rsqrt,
    "is_finite": _is_finite,
    "integer_pow": _power,
    "square": lambda graph, inputs, *_: graph.add("Mul", inputs * 2, inputs[0].shape),
    "convert_element_type": _cast,
    "stop_gradient": _same,
    "copy": _same,
    "name": _same,  # Only gives a value a name, for rematerialisation.
}
RULES = ELEMENTWISE | {
    "broadcast_in_dim": _broadcast,
    "iota": _iota,
    "reshape": _reshape,
    "squeeze": _reshape,
    "expand_dims": _reshape,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "slice": _slice,
    "pad": _pad,
    "reduce_sum": _reduce("ReduceSum"),
    "reduce_max": _reduce_max,
    "reduce_or": _reduce_or,
    "argmax": _argmax,
    "dot_general": _dot,
    "conv_general_dilated": _convolve,
    "reduce_window_max": _pool("MaxPool"),
    "reduce_window_sum": _pool("AveragePool"),
}
