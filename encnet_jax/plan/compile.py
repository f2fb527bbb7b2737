"""The real programs, compiled for devices that are not there, and what they cost."""

import time
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from encnet_jax import losses, models, tasks
from encnet_jax.crf import potentials
from encnet_jax.models.heads import piecewise_crf
from encnet_jax.plan.compiled_text import all_reduce_sizes, estimated_cycles
from encnet_jax.scoring.evaluator import logits_from_pixels
from encnet_jax.scoring.protocols import canvas, whole_images
from encnet_jax.tasks import classification
from encnet_jax.train.assemble import assemble, init_variables
from encnet_jax.train.step import parallel_step


class Cost(NamedTuple):
    """What the compiler says of one program on one chip.

    Attributes:
        images: a chip works on at a time.
        hbm_bytes: peak of HBM, arguments and code included.
        temporary_bytes: of those, what only lives during a run.
        flops, bytes_accessed: of one run; bodies of the loss's loop counted every time.
        cycles: of one run by the compiler's own model, likewise.
        all_reduces, all_reduce_bytes: in the optimised program.
        compile_s: time it took to compile here.
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
    """A program needs more memory than the chip has; the message is the compiler's."""


def lower_train_step(config, num_classes: int, devices: list | None, images: int):
    """Lowers the real training step; computes and compiles nothing.

    Args:
        config: resolved; total_steps is known.
        num_classes: C.
        devices: of a topology; None for all there are.
        images: for each device.

    Returns:
        (jax.stages.Lowered, shapes of the parameters).
    """
    parts = assemble(config, num_classes, only_shapes=True)
    count = jax.device_count() if devices is None else len(devices)
    batch = _batch(config, (count, images))
    step = parallel_step(parts.model, parts.tx, parts.task, config, devices)
    return step.lower(parts.state, batch), parts.state.params


def train_cost(config, num_classes: int, devices: list, images: int) -> Cost:
    """Compiles the training step.

    Args:
        config, num_classes, devices, images: see lower_train_step.

    Raises:
        DoesNotFit: too many images.
    """
    lowered, _ = lower_train_step(config, num_classes, devices, images)
    if config.task == "classification":
        return _compile(lowered, images=images)
    # Thinned labels need no upsampling, and so no loop.
    blocks = config.loss.row_blocks if config.loss.labels == "upsampled" else 1
    if config.model.name == "piecewise_crf":
        return _with_pairs(lowered, config, num_classes, images)
    cost = _compile(lowered, images=images, loop_trips=blocks)
    if blocks == 1:
        return cost
    # The compiler counts the body of a loop once, and the loss runs it in blocks.
    body = _loss_block_cost(config, num_classes, devices, images)
    heads = 1 + (config.model.aux == "fcn")
    times = heads * (blocks - 1)
    return cost._replace(
        flops=cost.flops + times * body.flops,
        bytes_accessed=cost.bytes_accessed + times * body.bytes_accessed,
    )


def _with_pairs(lowered, config, num_classes: int, images: int) -> Cost:
    """Compiles a piecewise CRF's training step, and adds the pairs of all offsets.

    The compiler counts the body of each relation's scan once. Of its further trips only
    the three products with the last layer's weights are added, and no bytes.
    """
    m = config.model
    side = canvas.logits_side(config.data.crop_size, models.logits_stride(m))
    shape, trips, flops = (images, side, side, num_classes), 1, 0
    for relation in piecewise_crf.PAIRWISE[m.crf.pairwise]:
        offsets = potentials.neighbour_offsets(relation, side, side, m.crf.box)
        plan = potentials.bounded_schedule(offsets, shape, m.crf.max_score_mib)
        steps = len(plan.steps.offset)
        pairs = images * plan.window[0] * plan.window[1]
        flops += 6 * (steps - 1) * pairs * m.crf.hidden_channels * num_classes**2
        trips = max(trips, steps)
    cost = _compile(lowered, images=images, loop_trips=trips)
    return cost._replace(flops=cost.flops + flops)


def eval_cost(config, num_classes: int, devices: list, images: int) -> Cost:
    """Compiles the `single` protocol's program for images of the training crop's size.

    Raises:
        DoesNotFit: too many images.
    """
    task = tasks.of(config)
    model = task.build_model(config, num_classes, None)
    variables = jax.eval_shape(lambda: init_variables(model, config))
    if config.task == "classification":
        count = partial(
            classification.count_step,
            model=model,
            normalise=task.normalise,
            num_classes=num_classes,
        )
        program = jax.pmap(count, in_axes=(None, 0), devices=devices)
        batch = _batch(config, (len(devices), images))
        return _compile(program.lower(variables, batch), images=images)
    apply_fn = logits_from_pixels(model, task.normalise)

    side = canvas.round_up(config.data.crop_size, config.eval.bucket)
    masked = config.model.mask_padding
    sizes = jax.ShapeDtypeStruct((len(devices), images, 2), jnp.int32)
    taps = jax.ShapeDtypeStruct(
        (
            len(devices),
            images,
            side,
            canvas.logits_side(side, models.logits_stride(config.model)),
        ),
        jnp.float32,
    )
    pixels = jax.ShapeDtypeStruct((len(devices), images, side, side, 3), jnp.uint8)
    program = jax.pmap(
        partial(whole_images.predict, apply_fn=apply_fn, mask_padding=masked),
        in_axes=(None, 0),
        devices=devices,
    )
    lowered = program.lower(variables, canvas.Canvas(pixels, taps, taps, sizes))
    return _compile(lowered, images=images)


def _batch(config, leading: tuple[int, ...]) -> dict:
    crop = (*leading, config.data.crop_size, config.data.crop_size)
    of_images = config.task == "classification"
    return {
        "image": jax.ShapeDtypeStruct((*crop, 3), jnp.uint8),
        "label": jax.ShapeDtypeStruct(
            leading if of_images else crop, jnp.int32 if of_images else jnp.uint8
        ),
    }


def _loss_block_cost(config, num_classes, devices, images) -> Cost:
    """Cost of one row block of the loss: twice what doubling the blocks saves."""
    crop, blocks = config.data.crop_size, config.loss.row_blocks
    side = canvas.logits_side(crop, models.logits_stride(config.model))
    logits = jax.ShapeDtypeStruct((1, images, side, side, num_classes), jnp.float32)
    labels = jax.ShapeDtypeStruct((1, images, crop, crop), jnp.uint8)

    def cost(row_blocks):
        def loss(x, y):
            return losses.upsampled_cross_entropy(
                x, y, config.model.align_corners, row_blocks
            )

        program = jax.pmap(jax.value_and_grad(loss), devices=devices[:1])
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
        raise DoesNotFit(" ".join(str(error).split())[:300]) from None
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
