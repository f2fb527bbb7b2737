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
    lost_work,
    machine,
    nothing_learned,
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
