"""Weight files: not finite, broken, or made to do harm."""

import io
import struct
import zipfile
from collections.abc import Callable

import numpy as np
from fixtures import command, flags
from registry import case

WEIGHTS = "encnet_jax.torch_weights"


def state_dict(root) -> dict[str, np.ndarray]:
    """Returns the run's weights under PyTorch's names."""
    from encnet_jax.checkpoints import read
    from encnet_jax.torch_weights import families, state_dicts

    variables, config = read.restore_variables(str(root / "run"))
    family = families.find("authors")
    arrays = state_dicts.to_state_dict(variables, config.model, family)
    return {name: np.array(array) for name, array in arrays.items()}


def imported(root, source) -> list[str]:
    words = *flags(root / "r"), f"--source={source}", f"--workdir={root}/i"
    return command(WEIGHTS, "import", *words)


def safetensors_file(root, change: Callable) -> str:
    """Writes the run's weights as .safetensors, every array changed."""
    import safetensors.numpy as files

    changed = {name: change(name, array) for name, array in state_dict(root).items()}
    files.save_file(changed, root / "changed.safetensors")
    return f"{root}/changed.safetensors"


def changed(name: str, statuses, says: str, change: Callable) -> None:
    """Registers the import of weights that were changed."""

    @case(f"{name}, import", statuses, says, "run")
    def run(root):
        yield imported(root, safetensors_file(root, change))
        assert (root / "i/checkpoints").exists() == (statuses == 0)


def of_floats(function: Callable) -> Callable:
    return lambda _, x: function(x) if x.dtype == np.float32 else x


def one_infinite(name: str, array: np.ndarray) -> np.ndarray:
    if name.endswith("conv1.weight"):
        array.flat[0] = np.inf
    return array


FINITE = "are NaN or infinite"
changed("4 NaN weights", 2, FINITE, of_floats(lambda x: np.full_like(x, np.nan)))
changed("4 one infinite weight", 2, "NaN or infinite", one_infinite)
changed(
    "4 weights beyond float32",
    2,
    "too large for float32",
    of_floats(lambda x: np.full(x.shape, 1e300)),
)
changed(
    "4 negative variances",
    2,
    "contains the variance",
    lambda name, x: x - 9 if name.endswith("running_var") else x,
)
changed("held float16", 0, "wrote", of_floats(lambda x: x.astype(np.float16)))
changed("held float64", 0, "wrote", of_floats(lambda x: x.astype(np.float64)))


@case("held names that begin with module.module., import", 0, "wrote", "run")
def wrapped(root):
    import safetensors.numpy as files

    arrays = {f"module.module.{name}": x for name, x in state_dict(root).items()}
    files.save_file(arrays, root / "w.safetensors")
    yield imported(root, root / "w.safetensors")


@case("4 init_from NaN weights, train", 2, FINITE, "run")
def initial(root):
    nan = of_floats(lambda x: np.full_like(x, np.nan))
    source = f"--config.init_from={safetensors_file(root, nan)}"
    yield command("train.py", *flags(root / "r", source), f"--workdir={root}/w")


@case("17 leftover of a killed save, import", 0, "wrote", "run")
def leftover(root):
    source = safetensors_file(root, lambda _, x: x)
    (root / "i/checkpoints/2.orbax-checkpoint-tmp").mkdir(parents=True)
    yield imported(root, source)


@case("17 used workdir, import", 2, "choose another --workdir", "run")
def used(root):
    source = f"--source={safetensors_file(root, lambda _, x: x)}"
    words = *flags(root / "r"), source, f"--workdir={root}/run"
    yield command(WEIGHTS, "import", *words)


def a_file(name: str, file: str, content: Callable, says: str) -> None:
    """Registers the import of a file that holds no weights; content: root -> bytes."""

    @case(f"{name}, import", 2, says, "run")
    def run(root):
        (root / file).write_bytes(content(root))
        yield imported(root, root / file)
        assert not (root / "i/checkpoints").exists()
        assert not (root / "ran").exists()


def header(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


HUGE = b'{"a":{"dtype":"F32","shape":[1152921504606846976],"data_offsets":[0,4]}}'
SOUND = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
for name, content in {
    "empty": b"",
    "truncated": header(SOUND) + b"\0\0",
    "of a wrong header length": header(SOUND, 1 << 40) + bytes(4),
    "of a shape of 2^60": header(HUGE) + bytes(4),
    "without JSON": header(b"{" * 9),
    "of an unknown type": header(SOUND.replace(b"F32", b"Q99")) + bytes(4),
    "of text": b"<html>not found</html>",
    "of another network": header(SOUND) + bytes(4),
}.items():
    a_file(f"held .safetensors {name}", "w.safetensors", lambda _, c=content: c, "")


def saved(value, **options) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def flipped(root) -> bytes:
    import torch

    tensors = {k: torch.from_numpy(v) for k, v in state_dict(root).items()}
    content = bytearray(saved(tensors))
    content[len(content) // 2] ^= 1
    return bytes(content)


def of_itself(root) -> bytes:
    value = {}
    value["state_dict"] = value
    return saved(value)


def sparse(root) -> bytes:
    import torch

    return saved({"conv1.weight": torch.eye(3).to_sparse()})


def meta(root) -> bytes:
    import torch

    return saved({"conv1.weight": torch.empty(3, device="meta")})


class Harm:
    """Runs a command where it is unpickled."""

    def __init__(self, root):
        self.command = f"touch {root}/ran"

    def __reduce__(self):
        import os

        return os.system, (self.command,)


def climbing(root) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../../a.pth", saved(Harm(root)))
    return buffer.getvalue()


def inflating(root) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.pth", bytes(1 << 20))
        archive.infolist()[0].file_size = 1 << 40  # What a bomb's directory says.
    return buffer.getvalue()


BROKEN = b"PK\3\4" + bytes(300) + b"PK\5\6" + bytes(18)
a_file(
    "19 a zip that is broken", "w.pth", lambda _: BROKEN, "expected exactly one .pth"
)
a_file("19 a flipped byte in a .pth", "w.pth", flipped, "w.pth")
a_file("19 a dict that holds itself", "w.pth", of_itself, "w.pth")
a_file("19 sparse tensors", "w.pth", sparse, "w.pth")
a_file("19 meta tensors", "w.pth", meta, "w.pth")
a_file("18 a zip bomb of a .pth", "w.zip", inflating, "w.zip")
a_file("held a malicious pickle", "w.pth", lambda r: saved(Harm(r)), "w.pth")
a_file(
    "held a malicious pickle, old format",
    "w.pth",
    lambda r: saved(Harm(r), _use_new_zipfile_serialization=False),
    "w.pth",
)
a_file("held a malicious pickle in ../../a.pth", "w.zip", climbing, "")
