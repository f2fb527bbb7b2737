"""Compiles training and evaluation steps for TPUs, without a TPU.

Memory, time and memory traffic are estimated from the compiled programs.
"""

import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from encnet_jax import config as config_lib
from encnet_jax import losses, models, tasks
from encnet_jax.config import Config, ModelConfig
from encnet_jax.crf import potentials
from encnet_jax.data import dataset_info
from encnet_jax.errors import UserError, reason
from encnet_jax.models.by_platform import compiled_for
from encnet_jax.models.heads import piecewise_crf
from encnet_jax.plan.compiled_text import all_reduce_sizes, estimated_cycles
from encnet_jax.pods import parallel
from encnet_jax.scoring import image_evaluator
from encnet_jax.scoring.forward import Forward
from encnet_jax.scoring.protocols import canvas, whole_images
from encnet_jax.train.assemble import assemble, init_variables
from encnet_jax.train.step import parallel_step

SHARED_ROWS = parallel.SHARED, parallel.ROWS


class Cost(NamedTuple):
    """Cost of one program on one chip, estimated by the compiler.

    The compiler counts only one iteration of each loop; see train_cost.

    Attributes:
        images: number of images in a chip's batch.
        hbm_bytes: peak use of memory (HBM), including arguments and code.
        temporary_bytes: bytes of temporary arrays, a part of hbm_bytes.
        flops: operations per execution.
        bytes_accessed: bytes read and written per execution.
        cycles: clock cycles per execution.
        all_reduces, all_reduce_bytes: number and total bytes of the all-reduces in the
            optimised program.
        compile_s: compilation time on this machine, in seconds.
    """

    images: int
    hbm_bytes: int
    temporary_bytes: int
    flops: float
    bytes_accessed: float
    cycles: int
    all_reduces: int
    all_reduce_bytes: int
    compile_s: float


class DoesNotFit(Exception):
    """Raised if a program needs more memory than the chip has.

    The message of this error is the compiler's message.
    """


def resolved(config: ConfigDict) -> tuple[Config, int]:
    """Resolves a configuration without reading the data set.

    Args:
        config: result of `config.load`, with command-line overrides applied.

    Returns:
        Tuple (resolved configuration, number of classes).

    Raises:
        UserError: a value is invalid, or the number of training steps is unknown.
    """
    info = dataset_info(config.data)
    num_examples = info.full_counts.get(config.data.train_split)
    facts = config_lib.Facts(num_examples) if num_examples else None
    found = config_lib.resolve(config, facts)
    if not found.train.total_steps:
        raise UserError(
            "the number of training steps is unknown: set --config.train.total_steps"
        )
    return found, info.num_classes


def lower_train_step(
    config: Config, num_classes: int, devices: list | None, images: int
) -> tuple[jax.stages.Lowered, Any]:
    """Lowers the training step to StableHLO, without compiling or running the step.

    Args:
        config: resolved configuration with a known train.total_steps.
        num_classes: number of classes.
        devices: devices of a TPU slice; None for all devices of this process.
        images: number of images per device.

    Returns:
        Tuple (lowered step, shapes of the parameters).
    """
    parts = assemble(config, num_classes, only_shapes=True)
    count = jax.device_count() if devices is None else len(devices)
    batch = _batch((count, images), config.data.crop_size, config.task)
    step = parallel_step(parts.step, devices)
    with compiled_for((devices or jax.devices())[0].platform):
        return step.lower(parts.state, batch), parts.state.params


def train_cost(config: Config, num_classes: int, devices: list, images: int) -> Cost:
    """Compiles the training step, and returns its cost.

    The compiler counts only one iteration of each loop. For the loops of a segmentation
    loss, this function adds the cost of the other iterations.

    Args:
        config, num_classes, devices, images: see lower_train_step.

    Raises:
        DoesNotFit: the step needs more memory than a chip has.
    """
    lowered, _ = lower_train_step(config, num_classes, devices, images)
    if config.task == "classification":
        return _compile(lowered, images=images)
    crop = config.data.crop_size
    if config.model.name == "piecewise_crf":
        return _with_pairs(lowered, config.model, (images, crop, num_classes))
    # With thinned labels, logits are not upsampled, so the loss has no loop.
    blocks = config.loss.row_blocks if config.loss.labels == "upsampled" else 1
    cost = _compile(lowered, images=images, loop_trips=blocks)
    if blocks == 1:
        return cost
    # The compiler counts a loop's body once, but the loss executes it `blocks` times.
    body = _loss_block_cost(
        config.model, (images, crop, num_classes), blocks, devices[:1]
    )
    heads = 1 + (config.model.aux == "fcn")
    times = heads * (blocks - 1)
    return cost._replace(
        flops=cost.flops + times * body.flops,
        bytes_accessed=cost.bytes_accessed + times * body.bytes_accessed,
    )


def _with_pairs(lowered, model: ModelConfig, size: tuple[int, int, int]) -> Cost:
    """Compiles the training step of a piecewise CRF, and returns its cost.

    The compiler counts one iteration of the scan over the pairs of a relation. For each
    other iteration, this function adds the operations of the products with the last
    layer's weights: three in the loss and, with refinement layers, one per mean-field
    update. The memory traffic of these iterations is not added.

    Args:
        lowered: the lowered training step.
        model: section `model` of the resolved configuration.
        size: (images per chip, height of the square crops in pixels, number of
            classes).
    """
    images, crop, num_classes = size
    side = piecewise_crf.node_side(crop, model)
    shape, trips, flops = (images, side, side, num_classes), 1, 0
    for relation in piecewise_crf.PAIRWISE[model.crf.pairwise]:
        offsets = potentials.neighbour_offsets(relation, side, side, model.crf.box)
        plan = potentials.bounded_schedule(offsets, shape, model.crf.max_score_mib)
        steps = len(plan.steps.offset)
        pairs = images * plan.window[0] * plan.window[1]
        products = 3 * (steps - 1)
        if model.crf.refine:
            products += model.crf.num_updates * steps - 1
        flops += 2 * products * pairs * model.crf.hidden_channels * num_classes**2
        trips = max(trips, steps)
    cost = _compile(lowered, images=images, loop_trips=trips)
    return cost._replace(flops=cost.flops + flops)


def eval_cost(config: Config, num_classes: int, devices: list, images: int) -> Cost:
    """Compiles the evaluation step of protocol 'single', and returns its cost.

    The protocol predicts whole images at one scale. The step is compiled for images of
    the size of the training crops.

    Args:
        config, num_classes, devices, images: see lower_train_step.

    Raises:
        DoesNotFit: the program needs more memory than a chip has.
    """
    task, crop = tasks.of(config), config.data.crop_size
    model = task.build_model(num_classes, None)
    variables = jax.eval_shape(lambda: init_variables(model, config.seed, crop))
    if config.task == "classification":
        count = partial(
            image_evaluator.count_step,
            model=model,
            normalise=task.normalise,
            num_classes=num_classes,
        )
        program = parallel.mapped(count, SHARED_ROWS, devices=devices)
        batch = _batch((len(devices), images), crop, config.task)
        with compiled_for(devices[0].platform):
            lowered = program.lower(variables, batch)
        return _compile(lowered, images=images)
    forward = Forward.of(
        model, num_classes, task.normalise, config.model, config.data.input_scale
    )
    predict = partial(whole_images.predict, forward=forward)
    program = parallel.mapped(predict, SHARED_ROWS, devices=devices)
    side = canvas.round_up(crop, config.eval.bucket)
    placed = _canvases((len(devices), images), side, forward.logits_stride)
    with compiled_for(devices[0].platform):
        lowered = program.lower(variables, placed)
    return _compile(lowered, images=images)


def _canvases(leading: tuple[int, int], side: int, stride: float) -> canvas.Canvas:
    """Returns shapes and dtypes of the inputs of the evaluation step.

    Args:
        leading: (number of devices, images per device), the leading axes.
        side: height and width of the padded images in pixels.
        stride: distance between neighbouring logits, in pixels.
    """
    taps = (*leading, side, canvas.logits_side(side, stride))
    shapes: list[Any] = [
        jax.ShapeDtypeStruct((*leading, side, side, 3), jnp.uint8),
        jax.ShapeDtypeStruct(taps, jnp.float32),
        jax.ShapeDtypeStruct(taps, jnp.float32),
        jax.ShapeDtypeStruct((*leading, 2), jnp.int32),
    ]
    return canvas.Canvas(*shapes)


def _batch(leading: tuple[int, ...], side: int, task: str) -> dict:
    """Returns shapes and dtypes of a batch of square images and their labels.

    Args:
        leading: (number of devices, images per device), the leading axes.
        side: height and width of the images in pixels.
        task: 'segmentation' or 'classification'.
    """
    crop = (*leading, side, side)
    of_images = task == "classification"
    return {
        "image": jax.ShapeDtypeStruct((*crop, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct(
            leading if of_images else crop, jnp.int32 if of_images else jnp.uint8
        ),
    }


def _loss_block_cost(
    model: ModelConfig, size: tuple[int, int, int], blocks: int, devices: list
) -> Cost:
    """Returns the cost of one row block of the loss.

    The loss is compiled twice, with `blocks` and with 2 * `blocks` row blocks. The
    compiler counts only one block of each program. Blocks of the second program have
    half as many rows, so the difference of the counts is half of the returned cost.

    Args:
        model, size: see _with_pairs.
        blocks: number of row blocks, field `loss.row_blocks`.
        devices: a list of one device.
    """
    images, crop, num_classes = size
    side = canvas.logits_side(crop, models.logits_stride(model))
    logits = jax.ShapeDtypeStruct((1, images, side, side, num_classes), jnp.float32)
    labels = jax.ShapeDtypeStruct((1, images, crop, crop), jnp.uint8)

    def cost(row_blocks):
        def loss(x, y):
            return losses.upsampled_cross_entropy(x, y, model.align_corners, row_blocks)

        program = parallel.mapped(jax.value_and_grad(loss), devices=devices)
        return _compile(program.lower(logits, labels), images=images)

    once, halved = cost(blocks), cost(2 * blocks)
    return once._replace(
        flops=2 * max(0.0, once.flops - halved.flops),
        bytes_accessed=2 * max(0.0, once.bytes_accessed - halved.bytes_accessed),
    )


def _compile(lowered, *, images: int, loop_trips: int = 1) -> Cost:
    start = time.monotonic()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DoesNotFit(reason(error, 300)) from None
    seconds = time.monotonic() - start
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
    text = compiled.as_text()
    sizes = all_reduce_sizes(text)
    return Cost(
        images=images,
        hbm_bytes=memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes,
        temporary_bytes=memory.temp_size_in_bytes,
        flops=cost["flops"],
        bytes_accessed=cost["bytes accessed"],
        cycles=estimated_cycles(text, loop_trips),
        all_reduces=len(sizes),
        all_reduce_bytes=sum(sizes),
        compile_s=seconds,
    )
