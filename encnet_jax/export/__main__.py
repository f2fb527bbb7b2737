"""Writes a trained network as a file that other runtimes load.

python -m encnet_jax.export --workdir runs/camvid --format onnx --output camvid.onnx
python -m encnet_jax.export --workdir runs/camvid --format hub --output camvid-encnet \\
    --push OWNER/NAME

The format's own runtime runs the new file on images. If the results differ from those
of the network, the file is removed. For --format hub, nothing is compared.
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
from encnet_jax.storage import checks, outputs

_KINDS = (*FORMATS, "hub")
_NUM_IMAGES = 2


def main(argv: Sequence[str]) -> None:
    """Runs the command: exports the network of a run."""
    line = cli.CommandLine(argv, __doc__)
    line.string("workdir", "Folder of the run to export.", required=True)
    line.checkpoint()
    line.string("format", f"Format: {', '.join(_KINDS)}.", required=True)
    line.string("output", "New file; for --format hub, new folder.", required=True)
    line.string(
        "size",
        "Image size HEIGHTxWIDTH in pixels, or 'any'. Default: 'any' if the network"
        " allows it, otherwise eval.crop_size.",
    )
    line.switch("scores", "The exported network also outputs class probabilities.")
    line.string(
        "images",
        "Folder of images for the comparison with the network. Default: images of the"
        " validation split, or noise if the data set is not on this machine.",
    )
    line.string("license", "For --format hub: license in the model card.", "unknown")
    line.string(
        "push", "For --format hub: Hugging Face repository OWNER/NAME to upload to."
    )
    values = line.parse()
    if values.format not in _KINDS:
        known = ", ".join(_KINDS)
        raise UserError(f"--format is {values.format!r}; expected one of: {known}")
    if values.push and values.format != "hub":
        raise UserError(
            f"--push requires --format hub, but --format is {values.format}"
        )
    output = storage.local_path(values.output, "--output")
    if output.exists():
        raise UserError(f"--output {output} already exists: choose another name")
    outputs.check_replaceable(_sidecar_file(output), "output", "--output")
    checks.check_writable(output.parent)  # Before minutes of work.
    from encnet_jax.inference.model import load

    if values.format == "hub":
        from encnet_jax.export import hub
        from encnet_jax.tasks import folder

        folder.import_hub("--format hub")  # Raises before minutes of work.
        model = load(values.workdir, values.checkpoint, announce=True)
        hub.write(model, values.workdir, output, license=values.license)
        print(f"wrote {output}; encnet_jax.load reads it")
        if values.push:
            address = hub.push(output, values.push)
            print(
                f"uploaded to {address}; encnet_jax.load('hf:{values.push}') reads it"
            )
        return
    # Not all runtimes support bfloat16, and float32 results can be compared.
    fields = {"model.dtype": "float32", "eval.refine": "none"}
    model = load(
        values.workdir,
        values.checkpoint,
        protocol="single",
        fields=fields,
        announce=True,
    )
    write_file(model, output, values)


def write_file(model, output: pathlib.Path, values) -> None:
    """Exports a network to a file, checks the file, and writes the metadata.

    For the check, the format's own runtime runs the file, and the results are compared
    with those of the network.

    Args:
        model: the network.
        output: the file to write; the metadata are written to `output`.json.
        values: values of the command's flags.

    Raises:
        UserError: the file cannot be written, or its results differ from the network's.
            The exported file is removed.
    """
    from encnet_jax.export import sidecar, verify

    made = _program(model, values.size, values.scores)
    images, sizes = _canvases(_images(model, values.images), made)
    about = sidecar.describe(model, made, values.format)
    output.parent.mkdir(parents=True, exist_ok=True)
    with storage.whole(output) as unfinished:
        start = time.perf_counter()
        unfinished.write_bytes(FORMATS.get(values.format)(made, about))
        took = time.perf_counter() - start
        found = verify.compare(made, unfinished, values.format, images, sizes)
        print(verify.describe(found))
        if not verify.passed(found):
            raise UserError(
                f"{output} was removed, because its results differ from those of the"
                " network: choose another --format"
            )
        about |= sidecar.compared(values.format, found)
        sidecar_file = _sidecar_file(output)
        outputs.check_replaceable(output, "output", "--output")
        text = json.dumps(about, indent=2) + "\n"
        outputs.write(sidecar_file, "output", text, "--output")
    size = output.stat().st_size / 1e6
    print(f"wrote {output} ({size:.1f} MB, {took:.1f} s) and {sidecar_file}")


def _sidecar_file(output: pathlib.Path) -> pathlib.Path:
    return output.with_name(output.name + ".json")


def _program(model, size: str | None, scores: bool):
    """Builds the program for the flag --size.

    Without this flag, the program accepts images of any size or, if the network does
    not allow this, images of eval.crop_size.
    """
    from encnet_jax.export import program

    if size in (None, "any"):
        try:
            return program.make_free(model, scores=scores)
        except UserError as error:
            if size == "any":
                raise
            crop = model.config.eval.crop_size
            print(f"the file accepts only images of {crop}x{crop} pixels: {error}")
            return program.make(model, crop, crop, scores=scores)
    match = re.fullmatch("([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", size)
    if not match:
        raise UserError(
            f"--size is {short(size, 40)}; expected HEIGHTxWIDTH such as 480x640, or"
            " 'any'"
        )
    return program.make(model, int(match[1]), int(match[2]), scores=scores)


def _images(model, folder: str | None) -> list[np.ndarray]:
    """Returns images uint8[H, W, 3] for the comparison.

    The images are read from the folder or, if `folder` is None, from the validation
    split. If the data set cannot be read, the images are noise.
    """
    from etils import epath

    from encnet_jax import pictures, tasks
    from encnet_jax.inference import inputs
    from encnet_jax.scoring.protocols import canvas

    if folder:
        paths = inputs.list_images(epath.Path(folder))[:_NUM_IMAGES]
        images = [model.read(path) for path in paths]
    else:
        try:
            dataset = tasks.open_dataset(model.config)
            examples = dataset.spread_examples(model.config.data.val_split, _NUM_IMAGES)
            images = [example["image"] for example in examples]
        except UserError as error:
            print(f"compared on noise, because the data cannot be read: {error}")
            rng, side = np.random.default_rng(0), model.config.eval.crop_size
            noise = rng.integers(0, 256, (_NUM_IMAGES, 4, 5, 3), np.uint8)
            return [canvas.resize(x, side, side) for x in noise]
    scale = model.config.data.input_scale
    sizes = [pictures.scaled_size(len(x), x.shape[1], scale) for x in images]
    return [canvas.resize(x, *size) for x, size in zip(images, sizes, strict=True)]


def _canvases(images: list[np.ndarray], made) -> tuple[np.ndarray, np.ndarray | None]:
    """Pads or crops images to one size that the program accepts.

    Returns:
        (padded images uint8[n, H, W, 3], their heights and widths before padding
        int32[n, 2]). The second value is None if the program has a fixed size.
    """
    from encnet_jax.scoring.protocols import canvas

    height, width, sizes = made.height, made.width, None
    if made.multiple:
        sizes = np.asarray([image.shape[:2] for image in images], np.int32)
        height, width = (canvas.round_up(n, made.multiple) for n in sizes.max(axis=0))
    cut = [image[:height, :width] for image in images]
    return np.stack([canvas.pad(x, height, width, 0) for x in cut]), sizes


if __name__ == "__main__":
    cli.start(main)
