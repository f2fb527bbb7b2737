"""Section `eval`: how a checkpoint is scored."""

import dataclasses

from encnet_jax.fields import (
    AT_LEAST_ONE,
    COUNT,
    FLAG,
    SIDE,
    Section,
    above,
    between,
    field,
    group,
    one_of,
    several,
)
from encnet_jax.registry import Registry, imported

# Imported by its path, because scoring/ imports this package.
PROTOCOLS: Registry = imported("encnet_jax.scoring.protocols:PROTOCOLS")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseConfig(Section):
    """Refinement by a dense CRF; only for eval.refine 'dense'.

    `python -m encnet_jax.report refine RUN` searches for good values of the CRF's
    kernel weights and standard deviations.
    """

    bilateral_weight: float = field(
        4.0,
        between(0, 1e6),
        "Weight of the bilateral kernel, a Gaussian of distance and colour difference.",
    )
    bilateral_px: float = field(
        20.0,
        above(0, 1e6),
        "Standard deviation of distances in the bilateral kernel, in pixels.",
    )
    bilateral_levels: float = field(
        10.0,
        above(0, 1e6),
        "Standard deviation of colour differences in the bilateral kernel, in levels of"
        " 0..255.",
    )
    spatial_weight: float = field(
        3.0,
        between(0, 1e6),
        "Weight of the spatial kernel, a Gaussian of distance only.",
    )
    spatial_px: float = field(
        3.0, above(0, 1e6), "Standard deviation of the spatial kernel, in pixels."
    )
    radius: int = field(5, between(1, 1 << 15), "Radius of both kernels, in pixels.")
    iterations: int = field(5, between(0, 1000), "Number of mean-field iterations.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvalConfig(Section):
    """How a checkpoint is scored."""

    protocol: str = field(
        "single",
        lambda: one_of(*PROTOCOLS),
        "'single': whole images at their own size. 'multiscale': mean over scales and"
        " mirror images. 'release': sliding windows as in the released code."
        " 'centre_crop': the centre of each image, to monitor a run.",
    )
    bucket: int = field(
        64,
        between(1, 1 << 15),
        "Image heights and widths are padded to multiples of this number of pixels.",
    )
    scales: tuple[float, ...] = field(
        (0.5, 0.75, 1.0, 1.25, 1.5, 1.75),
        several(above(0, 50), "one or more numbers above 0, at most 50", 1),
        "Scales of the protocols 'multiscale' and 'release'.",
    )
    flip: bool = field(
        True,
        FLAG,
        "Protocols 'multiscale' and 'release': average scores with those of the mirror"
        " image.",
    )
    base_size: int = field(
        None,
        SIDE,
        "Protocol 'release': length of an image's long side at scale 1, in pixels."
        " Default: data.augment.base_size.",
    )
    crop_size: int = field(
        None,
        SIDE,
        "Height and width of the windows ('release') or the crop ('centre_crop'), in"
        " pixels. Default: data.crop_size.",
    )
    temperature: float = field(
        1.0,
        between(0.05, 20),
        "Probabilities p become p**(1 / temperature), normalised; labels do not change."
        " `python -m encnet_jax.report calibrate RUN` fits the temperature.",
    )
    refine: str = field(
        "none",
        one_of("none", "dense"),
        "'dense': refine the averaged scores with a dense CRF.",
    )
    dense: DenseConfig = group(DenseConfig)
    batch_size: int = field(
        8, AT_LEAST_ONE, "Number of images or windows per batch, over all devices."
    )
    absent_classes: str = field(
        "zero",
        one_of("zero", "skip"),
        "Classes that never occur have IoU 0 ('zero'), or are left out of the mean IoU"
        " ('skip').",
    )
    small_object_px: int = field(
        0,
        COUNT,
        "Also report the scores of objects with fewer pixels than this number, and of"
        " all other objects; 0: off.",
    )
    precise_norm_steps: int = field(
        0,
        COUNT,
        "Recompute batch-norm statistics on this number of training batches; 0: use the"
        " moving averages of training.",
    )
    upsampled: str = field(
        None,
        one_of("logits", "probabilities"),
        "Whether logits or probabilities are upsampled to the image's size. Default:"
        " set by architecture.",
    )
    max_images: int = field(
        0,
        COUNT,
        "Score only this number of images, for a quick check; the report states the"
        " number. 0: all.",
    )
