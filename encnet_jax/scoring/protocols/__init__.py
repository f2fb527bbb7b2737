"""Evaluation protocols by name. Importing this package does not load JAX.

Modules of this folder register subclasses of protocol.Protocol:

    @PROTOCOLS.register("single", reported=("data.input_scale", "eval.bucket"))
    class Single(Protocol): ...

A registration may declare

    fields: configuration fields that only this protocol reads.
    reported: further configuration fields that a report states.
    labels_all: False if only a part of each image is labelled; prediction then uses
        'single' instead.
"""

from encnet_jax.registry import Registry, discover

PROTOCOLS: Registry = Registry("protocol")
discover(__name__, __path__[0], PROTOCOLS=PROTOCOLS)


def reported_fields(protocol: str) -> tuple[str, ...]:
    """Returns the fields that a report states for a protocol."""
    _, fields, facts = PROTOCOLS.registration(protocol)
    return (*facts.get("reported", ()), *fields)


def of_whole_images(protocol: str) -> str:
    """Returns `protocol`, or 'single' if it labels only a part of each image."""
    labels_all = PROTOCOLS.registration(protocol).facts.get("labels_all", True)
    return protocol if labels_all else "single"
