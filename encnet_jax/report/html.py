"""One HTML file about evaluated runs, which loads nothing from other places.

python -m encnet_jax.report html runs/demo --output demo.html
python -m encnet_jax.report html runs/ade20k-fcn runs/ade20k --output both.html
"""

import html
from collections.abc import Iterator, Sequence

import numpy as np
from etils import epath

from encnet_jax import cli, pictures, storage
from encnet_jax.errors import UserError
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.report import figures, page, run_files
from encnet_jax.report.run_files import RunFiles
from encnet_jax.scoring import image_scores
from encnet_jax.storage import outputs

LARGEST_BYTES = 5_000_000
_MATRIX_PX = 420


def make(runs: Sequence[RunFiles]) -> str:
    """Returns the page, with fewer images if it would be too large.

    Raises:
        UserError: the runs have different classes, or the page is too large even
            without images.
    """
    for run in runs:
        if run.class_names != runs[0].class_names:
            raise UserError(
                f"{run.name} and {runs[0].name} have different classes;"
                " expected runs on the same data set"
            )
    for number in range(image_scores.KEEP, -1, -1):
        text = page.document(
            f"encnet_jax: {', '.join(run.name for run in runs)}", _parts(runs, number)
        )
        if len(text.encode("utf-8", "backslashreplace")) <= LARGEST_BYTES:
            return text
    raise UserError(
        f"a page of {len(runs)} runs has more than {LARGEST_BYTES} bytes: give fewer"
    )


def _parts(runs: Sequence[RunFiles], number: int) -> Iterator[str]:
    names = [run.name for run in runs]
    yield f"<h1>{html.escape(', '.join(names))}</h1>"
    yield "<h2>Scores</h2>"
    yield page.table(["", *names], _score_rows(runs))
    yield f"<p>{html.escape(runs[0].report['rule'])}.</p>"
    for run in runs:
        for warning in run.report.get("warnings", ()):
            yield f"<p>Warning ({html.escape(run.name)}): {html.escape(warning)}.</p>"
    yield "<h2>Classes</h2><p>IoU in %. Click a heading to sort.</p>"
    heads = ["class", *names, "fraction of pixels, %"]
    yield page.table(heads, _class_rows(runs), sortable=True)
    for run in runs:
        yield f"<h2>Confusion: {html.escape(run.name)}</h2>"
        yield from _confusion(run)
        yield f"<h2>Images: {html.escape(run.name)}</h2>"
        yield from _images(run, number)
    yield "<h2>Curves</h2>"
    yield _curves(runs)
    yield "<h2>Origin</h2>"
    for run in runs:
        yield page.folded(f"{run.name}: configuration", run.config)
        yield page.folded(f"{run.name}: commands and versions", _origin(run.report))


def _score_rows(runs: Sequence[RunFiles]) -> Iterator[list[str]]:
    scores: dict[str, dict[str, float]] = {}
    for run in runs:
        for key, value in run.report.items():
            if isinstance(value, float):
                scores.setdefault(key.split("/")[-1], {})[run.name] = value
    for name, values in scores.items():
        cells = [values.get(run.name) for run in runs]
        shown = html.escape(name.replace("_", " ").replace("iou", "IoU"))
        yield [f"{shown}, %", *map(_percent, cells)]
    fields = ("model", "data", "split", "images", "step", "devices")
    for field in fields:
        yield [field, *(html.escape(str(run.report[field])) for run in runs)]
    yield ["protocol", *(html.escape(_protocol(run.report)) for run in runs)]


def _protocol(report: dict) -> str:
    fields = dict(report["protocol"])
    return ", ".join(
        [fields.pop("name"), *(f"{name}={value}" for name, value in fields.items())]
    )


def _percent(score: float | None) -> str:
    return "-" if score is None else f"{100 * score:.1f}"


def _class_rows(runs: Sequence[RunFiles]) -> Iterator[list[str]]:
    shares = runs[0].confusion.sum(1) / max(runs[0].confusion.sum(), 1)
    for i, name in enumerate(runs[0].class_names):
        colour = page.swatch(runs[0].colours[i])
        scores = [_percent(run.report["iou"][name]) for run in runs]
        yield [colour + html.escape(name), *scores, f"{100 * shares[i]:.2f}"]


def _confusion(run: RunFiles) -> Iterator[str]:
    """Yields the confusion matrix as two images and three CSV files to download."""
    counts = run.confusion
    normalised = {
        "rows": (counts / np.maximum(counts.sum(1, keepdims=True), 1), "of a label"),
        "columns": (
            counts / np.maximum(counts.sum(0, keepdims=True), 1),
            "of a prediction",
        ),
    }
    links = [page.download(_csv(run, counts), f"{run.name}-pixels.csv", "pixels (CSV)")]
    for name, (shares, meaning) in normalised.items():
        caption = (
            f"shares {meaning}: down the labels, across the predictions; dark is 1"
        )
        yield page.figure(_heat(shares), caption)
        file = f"{run.name}-{name}.csv"
        links.append(page.download(_csv(run, shares), file, f"by {name} (CSV)"))
    yield "<p>Rows and columns are in the order of the classes' table.</p>"
    yield f"<p>{' · '.join(links)}</p><p>The most frequent confusions:</p>"
    wrong = counts * (1 - np.eye(len(counts), dtype=int))
    most = np.argsort(wrong, axis=None)[::-1][:10]
    rows = []
    for label, prediction in zip(*np.unravel_index(most, counts.shape), strict=True):
        if wrong[label, prediction]:
            share = counts[label, prediction] / counts[label].sum()
            names = run.class_names[label], run.class_names[prediction]
            rows.append([*map(html.escape, names), f"{100 * share:.1f}"])
    yield page.table(["label", "predicted as", "% of the label's pixels"], rows)


def _heat(shares: np.ndarray) -> np.ndarray:
    """Returns uint8[S, S, 3]: white for 0, dark blue for 1, square root in between."""
    strength = np.sqrt(shares)[..., None]
    colours = 255 - strength * (255 - np.asarray([8, 48, 107]))
    cell = max(1, _MATRIX_PX // len(shares))
    return np.kron(colours.round().astype(np.uint8), np.ones((cell, cell, 1), np.uint8))


def _csv(run: RunFiles, values: np.ndarray) -> str:
    quoted = ['"' + name.replace('"', '""') + '"' for name in run.class_names]
    lines = [",".join(["label", *quoted])]
    lines += [
        ",".join([name, *(f"{x:.6g}" for x in row)])
        for name, row in zip(quoted, values, strict=True)
    ]
    return "\n".join(lines) + "\n"


def _images(run: RunFiles, number: int) -> Iterator[str]:
    scores = [image_scores.mean_iou(counts) for counts in run.counts]
    middle = f", median {100 * np.median(scores):.1f} %" if scores else ""
    yield f"<p>{len(scores)} images by their mean IoU{middle}.</p>"
    for name in ("best", "worst"):
        for place in range(number):
            key = f"{name}{place}"
            if key not in run.pictures:
                continue
            image, label, prediction = (
                run.pictures[f"{key}_{kind}"] for kind in image_scores.KINDS
            )
            wrong = (label != prediction) & (label != IGNORE_LABEL)
            score = 100 * run.pictures[f"{key}_score"]
            yield '<div class="row">'
            caption = f"{name}: {run.pictures[key]}, {score:.1f} %"
            yield page.figure(image, caption, photograph=True)
            yield page.figure(pictures.colourise(label, run.colours), "truth")
            yield page.figure(pictures.colourise(prediction, run.colours), "prediction")
            yield page.figure(_marked(image, wrong), "errors in red", photograph=True)
            yield "</div>"


def _marked(image: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Returns the image in grey, uint8[H, W, 3], with some pixels red."""
    grey = np.repeat(image.mean(-1, keepdims=True).astype(np.uint8) // 2 + 96, 3, -1)
    grey[wrong] = (214, 39, 40)
    return grey


def _curves(runs: Sequence[RunFiles]) -> str:
    names = sorted({name for run in runs for name in run.scalars})
    shown = [name for name in names if name in ("train/loss", "train/learning_rate")]
    shown += [name for name in names if name.startswith("val/")][:4]
    if not shown:
        return "<p>The runs have no TensorBoard files.</p>"
    picture = figures.new(figsize=(10, 2.6 * -(-len(shown) // 2)), layout="constrained")
    grid = picture.subplots(-(-len(shown) // 2), 2, squeeze=False).ravel()
    for axes, name in zip(grid, shown, strict=False):
        for run in runs:
            values = run.scalars.get(name, {})
            axes.plot([*values], [*values.values()], ".-", ms=3, label=run.name)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    for axes in grid[len(shown) :]:
        axes.set_axis_off()
    grid[0].legend(fontsize=8)
    content = figures.png(picture, dpi=90)
    return page.figure_of(content, "png", ", ".join(shown))


def _origin(report: dict) -> str:
    versions = report.get("versions", {})
    lines = [f"evaluated by: {report.get('command', 'not recorded')}"]
    lines += [f"code: {report['commit'] or 'not a git checkout'}"]
    lines += [f"{name}: {version}" for name, version in versions.items()]
    return "\n".join(lines)


def main(argv: Sequence[str]) -> None:
    """Writes the HTML page of several runs."""
    line = cli.CommandLine(argv, __doc__)
    line.argument("run", "Workdirs that eval.py has evaluated.", several=True)
    line.string("split", "Of the reports. Default: as in the newest report.")
    line.string("protocol", "Of the reports. Default: as in the newest report.")
    line.string("output", "The file to write.", "report.html")
    values = line.parse()
    target = epath.Path(values.output)
    outputs.check_replaceable(target, "HTML report", "--output")
    storage.check_writable(target.parent)
    runs = run_files.read_all(values.run, values.split, values.protocol)
    text = make(runs)
    target.parent.mkdir(parents=True, exist_ok=True)
    storage.write_whole(target, text)
    print(f"{', '.join(run.name for run in runs)}: {target} ({len(text) / 1e6:.1f} MB)")
