"""The cases, by kind of fault; importing this registers them all."""

from kinds import (  # noqa: F401
    arrays,
    buckets,
    checkpoints,
    commands,
    ends,
    evaluation,
    held,
    images,
    machine,
    numbers,
    prediction,
    preparation,
    processes,
    rights,
    signals,
    sources,
    teaching,
    weights,
)
