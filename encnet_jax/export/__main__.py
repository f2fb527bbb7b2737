"""Writes a trained network as a file that other runtimes load.

python -m encnet_jax.export --workdir runs/camvid --format onnx --output camvid.onnx
python -m encnet_jax.export --workdir runs/camvid --format hub --output camvid-encnet \\
    --push OWNER/NAME

The new file is loaded by its own runtime and compared with the network on images. If
the results differ, it is removed.
"""

import json
import pathlib
import re
import time
from collections.abc import Sequence

import numpy as np

from encnet_jax import cli, storage
from encnet_jax.errors import UserError, short
from encnet_jax.export import FORMATS
from encnet_jax.storage import outputs

_KINDS = (*FORMATS, "hub")
_NUM_IMAGES = 2


def main(argv: Sequence[str]) -> None:
    """Exports the network of a run: writes the file, verifies and describes it."""
    line = cli.CommandLine(argv, __doc__)
    line.string("workdir", "Run to export.", required=True)
    line.checkpoint()
    line.string("format", f"One of {', '.join(_KINDS)}.", required=True)
    line.string("output", "New file, or new folder (hub).", required=True)
    line.string("size", "Image size HEIGHTxWIDTH in pixels. Default: eval.crop_size.")
    line.switch("scores", "Also output the probabilities of every pixel.")
    line.string(
        "images", "Folder of images for the comparison. Default: the validation split."
    )
    line.string("license", "Hub: license in the model card.", "unknown")
    line.string("push", "Hub: also upload to this OWNER/NAME on Hugging Face.")
    values = line.parse()
    if values.format not in _KINDS:
        known = ", ".join(_KINDS)
        raise UserError(f"--format is {values.format!r}, expected one of: {known}")
    if values.push and values.format != "hub":
        raise UserError(f"--push uploads --format hub, not {values.format}")
    output = storage.local_path(values.output, "--output")
    if output.exists():
        raise UserError(f"--output {output} exists already: choose another name")
    outputs.check_replaceable(_sidecar_file(output), "output", "--output")
    storage.check_writable(output.parent)  # Fail before minutes of work.
    from encnet_jax.inference.model import load

    if values.format == "hub":
        from encnet_jax.export import hub
        from encnet_jax.tasks import folder

        folder.import_hub("--format hub")  # Fail before minutes of work.
        model = load(values.workdir, values.checkpoint)
        hub.write(model, values.workdir, output, license=values.license)
        print(f"wrote {output}; encnet_jax.load reads it")
        if values.push:
            address = hub.push(output, values.push)
            print(f"uploaded it: {address}; encnet_jax.load('hf:{values.push}')")
        return
    # Not all runtimes support bfloat16, and float32 results can be compared.
    fields = {"model.dtype": "float32", "eval.refine": "none"}
    model = load(values.workdir, values.checkpoint, protocol="single", fields=fields)
    write_file(model, output, values)


def write_file(model, output: pathlib.Path, values) -> None:
    """Writes a program as a file, verifies it in its runtime, and describes it.

    Raises:
        UserError: its results differ from the network's, or it cannot be written; no
            file is left.
    """
    from encnet_jax.export import program, sidecar, verify

    height, width = _size(values.size, model.config.eval.crop_size)
    images = _images(model, values.images, height, width)
    made = program.make(model, height, width, scores=values.scores)
    output.parent.mkdir(parents=True, exist_ok=True)
    with storage.whole(output) as unfinished:
        start = time.perf_counter()
        unfinished.write_bytes(FORMATS.get(values.format)(made))
        took = time.perf_counter() - start
        found = verify.compare(made, unfinished, values.format, images)
        print(verify.describe(found))
        if not verify.passed(found):
            raise UserError(
                f"{output} was removed: its results differ from the network's"
            )
        described = sidecar.describe(model, made, values.format, found)
        sidecar_file = _sidecar_file(output)
        outputs.check_replaceable(output, "output", "--output")
        text = json.dumps(described, indent=2) + "\n"
        outputs.write(sidecar_file, "output", text, "--output")
    size = output.stat().st_size / 1e6
    print(f"wrote {output} ({size:.1f} MB, {took:.1f} s) and {sidecar_file}")


def _sidecar_file(output: pathlib.Path) -> pathlib.Path:
    return output.with_name(output.name + ".json")


def _size(text: str | None, default: int) -> tuple[int, int]:
    if text is None:
        return default, default
    match = re.fullmatch("([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if not match:
        raise UserError(
            f"--size is {short(text, 40)}, expected HEIGHTxWIDTH such as 480x640"
        )
    return int(match[1]), int(match[2])


def _images(model, folder: str | None, height: int, width: int) -> np.ndarray:
    """Returns uint8[n, height, width, 3] of a folder or of the validation split."""
    from etils import epath

    from encnet_jax import pictures, tasks
    from encnet_jax.inference import files
    from encnet_jax.scoring.protocols import canvas

    if folder:
        paths = files.list_images(epath.Path(folder))[:_NUM_IMAGES]
        images = [model.read(path) for path in paths]
    else:
        dataset = tasks.open_dataset(model.config)
        examples = dataset.spread_examples(model.config.data.val_split, _NUM_IMAGES)
        images = [example["image"] for example in examples]
    scale = model.config.data.input_scale
    sizes = [pictures.scaled_size(len(x), x.shape[1], scale) for x in images]
    scaled = [canvas.resize(x, *size) for x, size in zip(images, sizes, strict=True)]
    return np.stack([canvas.pad(x[:height, :width], height, width, 0) for x in scaled])


if __name__ == "__main__":
    cli.start(main)
