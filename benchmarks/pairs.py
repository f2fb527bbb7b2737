"""Builds a network with equal weights twice: in JAX, and in plain PyTorch."""

import os
from typing import NamedTuple

import jax
import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.torch_models.authors import Authors
from benchmarks.torch_models.layers import randomise
from encnet_jax import config as config_lib
from encnet_jax import torch_weights
from encnet_jax.config import defaults
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.models.backbones import resnet
from encnet_jax.preprocess import MEAN, STD


class Pair(NamedTuple):
    """Equal networks in JAX and PyTorch.

    Attributes:
        config: resolved configuration of our network.
        variables: variables of our network, converted from the PyTorch module.
        module: the PyTorch module, on `device`.
        device: 'cpu' or 'cuda'.
    """

    config: object
    variables: dict
    module: torch.nn.Module
    device: str


def add_flags(parser) -> None:
    """Adds the flags that all comparisons of whole networks share."""
    parser.add_argument("--model", default="encnet", choices=("encnet", "fcn"))
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--size", type=int, default=256, help="side of the images")
    parser.add_argument("--classes", type=int, default=150)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--no-compile", action="store_true", help="eager PyTorch only")


def make(args, batch_size: int) -> Pair:
    """Builds both networks with the same weights.

    Args:
        args: parsed flags of `add_flags`.
        batch_size: images per training step.
    """
    # Both sides use the cores that are available to this process.
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    config = defaults.get_config()
    config.architecture = "release"
    config.model.name, config.model.backbone = args.model, args.backbone
    config.model.dtype = args.dtype
    config.data.crop_size = args.size
    config.train.batch_size = batch_size
    config.train.total_steps = 1000
    config = config_lib.resolve(config)
    m = config.model
    module = Authors(
        m.name,
        resnet.specs()[m.backbone],
        m.head_channels,
        m.aux_channels,
        args.classes,
        m.num_codes,
        m.lateral,
        stem=m.stem,
        stem_width=m.stem_width,
        rates=(1, 1, 2, 4),
    )
    randomise(module)
    state_dict = {name: x.numpy().copy() for name, x in module.state_dict().items()}
    variables = torch_weights.convert(state_dict, m, args.classes)
    device = "cuda" if jax.default_backend() == "gpu" else "cpu"
    return Pair(config, variables, module.to(device), device)


def random_batch(args, batch_size: int) -> dict[str, np.ndarray]:
    """Returns 'image' uint8[B, H, W, 3] and 'label' uint8[B, H, W]."""
    rng = np.random.default_rng(0)
    shape = (batch_size, args.size, args.size)
    return {
        "image": rng.integers(0, 256, (*shape, 3), np.uint8),
        "label": rng.integers(0, args.classes, shape, np.uint8),
    }


def to_torch(batch: dict, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns normalised images f32[B, 3, H, W] and labels int64[B, H, W]."""
    pixels = batch["image"].transpose(0, 3, 1, 2).astype(np.float32) / 255
    mean, std = (np.float32(x)[:, None, None] for x in (MEAN, STD))
    images = torch.from_numpy((pixels - mean) / std)
    return images.to(device), torch.from_numpy(batch["label"].astype(int)).to(device)


def upsampled(logits: torch.Tensor, size: int) -> torch.Tensor:
    """Returns f32[B, C, size, size], corners aligned."""
    return F.interpolate(
        logits.float(), (size, size), mode="bilinear", align_corners=True
    )


def torch_loss(outputs: dict, labels: torch.Tensor, loss_config) -> torch.Tensor:
    """Returns the loss of `encnet_jax.losses.segmentation_loss`, in plain PyTorch."""
    size, classes = labels.shape[-1], outputs["logits"].shape[1]

    def pixel_term(logits):
        x = upsampled(logits, size)
        return F.cross_entropy(x, labels, ignore_index=IGNORE_LABEL)

    loss = pixel_term(outputs["logits"])
    loss = loss + loss_config.aux_weight * pixel_term(outputs["aux_logits"])
    if "se_logits" in outputs:
        present = F.one_hot(labels.flatten(1), classes).amax(1).float()
        logits = outputs["se_logits"].float()
        term = F.binary_cross_entropy_with_logits(logits, present)
        loss = loss + loss_config.se_weight * term
    return loss
