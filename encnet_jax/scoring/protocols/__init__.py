"""The registry of evaluation protocols. Importing this package does not load JAX.

A protocol defines how images are cropped, scaled and mirrored, and how predictions are
averaged. The modules of this folder register subclasses of protocol.Protocol:

    @PROTOCOLS.register("single", reported=("data.input_scale", "eval.bucket"))
    class Single(Protocol): ...

Optional arguments of `register`:

    fields: configuration fields that only this protocol reads.
    reported: other configuration fields that evaluation reports must contain.
    labels_all: False if the protocol predicts only a part of each image. The protocol
        'single' is then used to predict label maps of whole images.
"""

from encnet_jax.registry import Registry, discover

PROTOCOLS: Registry = Registry("protocol")
discover(__name__, __path__[0], PROTOCOLS=PROTOCOLS)


def reported_fields(protocol: str) -> tuple[str, ...]:
    """Returns names of the configuration fields that an evaluation report must contain.

    Args:
        protocol: name of the protocol of the evaluation.
    """
    _, fields, facts = PROTOCOLS.registration(protocol)
    return (*facts.get("reported", ()), *fields)


def of_whole_images(protocol: str) -> str:
    """Returns the name of a protocol that predicts label maps of whole images.

    Args:
        protocol: name of a protocol.

    Returns:
        `protocol`, or 'single' if `protocol` predicts only a part of each image.
    """
    labels_all = PROTOCOLS.registration(protocol).facts.get("labels_all", True)
    return protocol if labels_all else "single"
