"""Labels every pixel of images; writes class ids, colours and an overlay for each.

python predict.py --workdir runs/camvid --input photos --output labelled
python predict.py --workdir runs/camvid a.jpg b.jpg 'more/*.png'
python predict.py --weights torchvision:deeplabv3_resnet50 --input photo.jpg
"""

from collections.abc import Sequence

from encnet_jax import cli
from encnet_jax.errors import UserError


def main(argv: Sequence[str]) -> int:
    """Runs the command: writes three PNGs for each image, and more with --scores.

    Returns:
        The exit status: 0, or 1 if some images could not be labelled.
    """
    line = cli.CommandLine(argv, __doc__)
    line.string("workdir", "Folder of the run whose network labels the images.")
    line.string(
        "weights",
        "Published network to use instead of a run: a name that `encnet weights list`"
        " prints.",
    )
    line.checkpoint()
    line.argument(
        "images", "Images, folders or patterns, like --input.", several=True, default=[]
    )
    line.string("input", "An image, a folder of images, or a pattern: 'a/*.jpg'.")
    line.switch("recursive", "Also read the subfolders of --input.")
    line.string("output", "Folder for the PNGs, local or in a bucket.", "labelled")
    line.string(
        "protocol",
        "Evaluation protocol: single, multiscale or release. Default: eval.protocol.",
    )
    line.probabilities()
    line.switch("scores", "Also write probabilities, as .npz files and 16-bit PNGs.")
    line.integer(
        "top",
        "With --scores: number of most probable classes to write per pixel.",
        3,
        least=1,
    )
    line.strings("transparent", "Classes that the overlays do not colour: A,B.")
    line.switch("overwrite", "Replace results of an earlier call in --output.")
    line.integer("batch_size", "Number of images per batch. Default: one per device.")
    line.integer(
        "whole_px",
        "Split images with more than this number of pixels into tiles.",
        2048**2,
    )
    line.number(
        "max_megapixels",
        "Reject images with more than this number of megapixels.",
        least=0.0,
    )
    line.strings(
        "value_range", "Values of black and white in 16-bit grey images: 0,65535."
    )
    values = line.parse()
    sources = [*filter(None, [values.input]), *values.images]
    if not sources:
        raise UserError("missing: --input; --help shows an example")
    if bool(values.workdir) == bool(values.weights):
        raise UserError("expected either --workdir or --weights; --help shows examples")
    from encnet_jax.evaluate.calibrate import temperature_fields
    from encnet_jax.evaluate.refine import refine_fields
    from encnet_jax.inference import files, model
    from encnet_jax.weights import cache

    if values.weights:
        cache.find(values.weights)  # Raises for unknown names, before any work.

    fields = refine_fields(values.refine) | temperature_fields(values.temperature)
    if values.max_megapixels is not None:
        fields["data.max_megapixels"] = values.max_megapixels
    if values.value_range:
        fields["data.value_range"] = _value_range(values.value_range)
    paths = files.prepare(  # Checks the input before minutes of work.
        sources,
        values.output,
        recursive=values.recursive,
        scores=values.scores,
        overwrite=values.overwrite,
    )
    loaded = model.load(
        values.workdir or values.weights,
        values.checkpoint,
        protocol=values.protocol,
        fields=fields,
        batch_size=values.batch_size,
        whole_px=values.whole_px,
        announce=True,
    )
    top = values.top if values.scores else 0
    return files.predict_files(
        loaded, paths, values.output, top=top, transparent=values.transparent
    )


def _value_range(words: list[str]) -> list[float]:
    try:
        black, white = map(float, words)
    except ValueError:
        black = white = 0.0
    if black == white:
        raise UserError(
            f"--value_range is {','.join(words)}; expected two distinct numbers"
            " BLACK,WHITE such as 0,65535"
        )
    return [black, white]
