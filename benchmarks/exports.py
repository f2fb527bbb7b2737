"""Measures each exported format: bytes, seconds to write, seconds per image.

python -m benchmarks.exports --image photo.jpg

The network has random weights, which do not affect the figures. The runtimes alternate
in this process, one image at a time, and return labels and logits. `ours` is the same
function compiled by JAX; `encnet_jax.load` is the Python interface, which returns
labels and confidences.
"""

import argparse
import pathlib
import tempfile
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
from jax import export

from benchmarks import measure
from encnet_jax import config as config_lib
from encnet_jax.export import FORMATS, hub, program, verify
from encnet_jax.inference import reading
from encnet_jax.inference.model import Model
from encnet_jax.pods import parallel
from encnet_jax.scoring.protocols import canvas
from encnet_jax.tasks import network

KINDS = ("stablehlo", "onnx")


def untrained(config_file: str) -> Model:
    """Returns a float32 network with initial weights that labels whole images."""
    config = config_lib.load(config_file)
    config.model.dtype, config.eval.protocol = "float32", "single"
    config = config_lib.resolve(config, config_lib.Facts(1000))
    untrained = network.build({}, config, 0)
    init = jax.jit(untrained.model.init)
    variables = init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)))
    return Model(untrained._replace(variables=parallel.replicate(variables)))


def write(model: Model, made: program.Program, folder: pathlib.Path) -> dict:
    """Writes every format into a folder; returns format -> MB and seconds."""
    rows = {}
    for kind in (*KINDS, "hub"):
        start = time.perf_counter()
        if kind == "hub":
            hub.write(model, str(folder), folder / kind, license="unknown")
        else:
            (folder / kind).write_bytes(FORMATS.get(kind)(made, {}))
        took = time.perf_counter() - start
        size = num_bytes(folder / kind) / 1e6
        rows[kind] = {"MB": size, "written in s": took}
    return rows


def num_bytes(path: pathlib.Path) -> int:
    """Returns the bytes of a file, or of all files of a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def candidates(
    model: Model, made: program.Program, folder: pathlib.Path, images: np.ndarray
) -> dict[str, Callable]:
    """Returns runtime -> function that labels uint8[1, H, W, 3]."""
    compiled = jax.jit(made.run)
    exported = export.deserialize(bytearray((folder / "stablehlo").read_bytes()))
    called = jax.jit(exported.call)
    session = onnxruntime.InferenceSession(
        folder / "onnx", providers=["CPUExecutionProvider"]
    )
    return {
        "ours": lambda: jax.device_get(compiled(images)),
        "stablehlo": lambda: jax.device_get(called(images)),
        "onnx": lambda: session.run(None, {"images": images}),
        "encnet_jax.load": lambda: model(images[0]),
    }


def main() -> None:
    """Prints the results as a table, and as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="configs/ade20k.py")
    parser.add_argument("--size", type=int, default=480, help="side of the image")
    parser.add_argument("--image", required=True, help="a file; its size is changed")
    parser.add_argument("--repeats", type=int, default=10)
    args = parser.parse_args()
    model = untrained(args.config)
    image = canvas.resize(reading.read(args.image), args.size, args.size)[None]
    made = program.make(model, args.size, args.size, scores=False)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        rows = write(model, made, folder)
        for kind in KINDS:
            found = verify.compare(made, folder / kind, kind, image)
            print(f"{kind}: {verify.describe(found)}")
        timed = candidates(model, made, folder, image)
        seconds = measure.alternate(timed, args.repeats)
    for name, row in measure.summarise(seconds, "ours").items():
        rows[name] = {"MB": "", "written in s": ""} | rows.get(name, {}) | row
    hub_row = rows.pop("hub")  # `encnet_jax.load` runs this format.
    rows["encnet_jax.load"] |= hub_row
    described = f"{model.config.model.name}-{model.config.model.backbone}"
    title = f"exports, {described}, {len(model.class_names)} classes, {args.size} px"
    measure.report(title, rows, vars(args))


if __name__ == "__main__":
    main()
