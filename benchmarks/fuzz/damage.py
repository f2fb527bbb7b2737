"""Damage to the content of files: bytes, and members of JSON files."""

import json

import numpy as np


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Flips, cuts, repeats or overwrites some bytes."""
    kind, size = rng.integers(6), len(content)
    place = int(rng.integers(size))
    if kind == 0:
        return content[:place]
    if kind == 1:  # A part is missing.
        return content[:place] + content[place + int(rng.integers(1, 64)) :]
    if kind == 2:
        return content[:place] + rng.bytes(int(rng.integers(1, 64))) + content[place:]
    if kind == 3:  # In the header, which affects reading most.
        place = int(rng.integers(min(size, 64)))
    out = bytearray(content)
    for _ in range(1 if kind < 5 else int(rng.integers(1, 32))):
        out[place] = rng.integers(256)
        place = int(rng.integers(size))
    return bytes(out)


# Values that replace a member of a JSON file.
_JUNK = (
    *(None, True, [], {}, "", "x", "../../x", "\n\x1b[31m", 0, -1, 1e308, 10**400, 0.5),
    *([[]] * 3, [None], {"a": {}}, "x" * 9999, [0] * 9999, float("nan"), float("inf")),
)


def damaged_json(content: bytes, rng: np.random.Generator) -> bytes:
    """Replaces, removes or adds a member somewhere in a JSON file."""
    value = json.loads(content)
    nodes = [value]
    for node in nodes:  # The loop body extends the list.
        inner = node.values() if isinstance(node, dict) else node
        nodes += [x for x in inner if isinstance(x, (dict, list)) and x]
    node = nodes[int(rng.integers(len(nodes)))]
    junk = _JUNK[int(rng.integers(len(_JUNK)))]
    keys = list(node) if isinstance(node, dict) else list(range(len(node)))
    key = keys[int(rng.integers(len(keys)))]
    kind = rng.integers(8)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, dict):
        node["unknown"] = junk
    elif kind == 2:
        return json.dumps(junk).encode()
    elif kind == 3:
        depth = int(rng.integers(1, 100_000))
        return json.dumps(value).encode().replace(b"{", b"[" * depth, 1)
    else:
        node[key] = junk
    return json.dumps(value).encode()
