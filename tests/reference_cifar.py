"""The reference data of the authors' CIFAR-10 networks, and what ours compute of it."""

import contextlib
import functools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
import reference_models

from encnet_jax import config as config_lib
from encnet_jax.losses import classification_loss
from encnet_jax.models.encoding import Encoding
from encnet_jax.train import optim

FOLDER = reference_models.FOLDER / "golden" / "cifar"
NAMES = sorted(path.stem for path in FOLDER.glob("cifar_*.json"))
# Optimising the machine code takes longer than running it, but in double precision.
LEVEL = "xla_backend_optimization_level"
# Names of our modules for the places that the reference looks at.
OUTPUT_OF = {
    "model.3": "stage1_block02",
    "model.5": "stage3_block02",
    "model.5.1.se.fc.7": "stage3_block02/scaling",
}
INPUT_OF = {
    "model.3.0.se.fc.5": "stage1_block01/scaling/attention",
    "model.8": "classifier",
}


def json_of(name: str) -> dict:
    """Returns what a file beside the references holds, nothing where there is none."""
    path = FOLDER / name
    return json.loads(path.read_text()) if path.is_file() else {}


def load(name: str, double: bool) -> tuple[dict, dict]:
    """Returns (.json, arrays), these in double precision where wanted."""
    with np.load(FOLDER / f"{name}.npz") as file:
        arrays = dict(file)
    if double:
        with np.load(FOLDER / f"{name}.float64.npz") as file:
            assert file.files and set(file.files) <= set(arrays)
            arrays |= dict(file)
    return json.loads((FOLDER / f"{name}.json").read_text()), arrays


def configuration(reference: dict) -> ml_collections.ConfigDict:
    """Returns the authors' recipe for a reference's network."""
    config = config_lib.load("configs/cifar10.py:encnet16k64d,authors")
    config.model.name = reference["model"].removesuffix("drop")
    config.model.draw_smoothing = reference["model"] == "encnetdrop"
    config.model.width = reference["width"]
    config.model.num_codes = reference.get("num_codes") or 0
    return config_lib.opened(config_lib.resolve(config))


def evaluate(model, variables, images) -> dict[str, np.ndarray]:
    """Returns logits and inner values under the reference's names and cuts."""
    seen = {}

    def look(next_function, args, kwargs, context):
        result = next_function(*args, **kwargs)
        if context.method_name == "__call__":
            path = "/".join(context.module.path)
            seen[path] = (args[0], result)
        return result

    @functools.partial(jax.jit, compiler_options={LEVEL: 0})
    def forward(variables, images):
        with nn.intercept_methods(look):
            outputs = model.apply(variables, images)
        found = {f"inner:{n}": seen[p][1] for n, p in OUTPUT_OF.items() if p in seen}
        found |= {f"inner:{n}": seen[p][0] for n, p in INPUT_OF.items() if p in seen}
        return found | {"logits": outputs["logits"]}

    found = jax.tree.map(np.asarray, forward(variables, images))
    found["inner:model.3"] = found["inner:model.3"][:, ::4, ::4, ::8]
    found["inner:model.5"] = found["inner:model.5"][:, ::2, ::2, ::16]
    return {n: np.moveaxis(x, -1, 1) if x.ndim == 4 else x for n, x in found.items()}


def draws_of(arrays: dict) -> dict[tuple, tuple]:
    """Returns {path of our Encoding: (first, second draw of their `scale`)}."""
    draws = {}
    for stage in (1, 2, 3):
        for block in (1, 2):
            name = f"draw:model.{stage + 2}.{block - 1}.se.fc.3.scale"
            if f"{name}:forward" in arrays:
                path = (f"stage{stage}_block{block:02d}", "scaling", "encoding")
                draws[path] = tuple(
                    arrays[f"{name}:{x}"] for x in ("forward", "backward")
                )
    return draws


def encode_drawn_twice(features, codewords, first, second):
    """Sums residuals as the first draw of `scale` assigns them.

    The backward pass of the scaled distances takes the second draw, at the softmax of
    the first, as the authors' code does, which draws again before it.

    Args:
        features: [B, H, W, D].
        codewords: [K, D].
        first, second: [K], negative.
    """
    features = features.reshape(len(features), -1, features.shape[-1])
    residuals = features[:, :, None] - codewords[None, None]
    sq_distance = jnp.sum(residuals**2, axis=-1)
    held = jax.lax.stop_gradient(sq_distance)
    first, second = (draw.astype(held.dtype)[None, None] for draw in (first, second))
    scaled = first * held + second * (sq_distance - held)
    assignment = jax.nn.softmax(scaled, axis=-1)
    return jnp.sum(assignment[..., None] * residuals, axis=1)


def train(model, variables, images, labels, config, draws, steps: int):
    """Returns (first logits, losses before each step, first gradients, variables).

    The variables are those after the first step. The last loss needs no step.
    """

    def draw_twice(next_function, args, kwargs, context):
        if isinstance(context.module, Encoding) and context.method_name == "__call__":
            codewords = context.module.get_variable("params", "codewords")
            return encode_drawn_twice(args[0], codewords, *draws[context.module.path])
        return next_function(*args, **kwargs)

    def loss_fn(params, batch_stats):
        with nn.intercept_methods(draw_twice) if draws else contextlib.nullcontext():
            outputs, updates = model.apply(
                {"params": params, "batch_stats": batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
            )
        loss, _ = classification_loss(outputs, labels)
        return loss, (outputs["logits"], updates["batch_stats"])

    differentiate = jax.value_and_grad(loss_fn, has_aux=True)
    level = 0 if images.dtype == jnp.float32 else 1
    differentiate = jax.jit(differentiate, compiler_options={LEVEL: level})
    params, batch_stats = variables["params"], variables["batch_stats"]
    # The rate is constant: so long a schedule does not fall in three steps.
    config.optim.cosine_ahead = 0.0
    tx, _ = optim.optimizer(config.optim, params, total_steps=10**12, batch_size=128)
    opt_state = tx.init(params)
    losses, kept = [], None
    for _ in range(steps):
        (loss, (logits, batch_stats)), grads = differentiate(params, batch_stats)
        losses.append(loss)
        updates, opt_state = tx.update(grads, opt_state, params)
        params = optax.apply_updates(params, updates)
        after = {"params": params, "batch_stats": batch_stats}
        kept = kept or (logits, grads, after)
    logits, grads, after = kept
    return logits, losses, grads, after
