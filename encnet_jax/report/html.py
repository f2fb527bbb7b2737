"""Writes a report on evaluated runs as one self-contained HTML file.

python -m encnet_jax.report html runs/demo --output demo.html
python -m encnet_jax.report html runs/ade20k-fcn runs/ade20k --output both.html
"""

import html
from collections.abc import Iterator, Sequence

import numpy as np
from etils import epath

from encnet_jax import cli, pictures
from encnet_jax.errors import UserError
from encnet_jax.labels import IGNORE_LABEL
from encnet_jax.report import compared, figures, page, quality_plots, run_files
from encnet_jax.report.run_files import RunFiles
from encnet_jax.scoring import image_scores
from encnet_jax.storage import checks, outputs

LARGEST_BYTES = 5_000_000


def make(runs: Sequence[RunFiles]) -> str:
    """Returns an HTML page that reports on several runs.

    The page contains fewer images if it would otherwise exceed LARGEST_BYTES.

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
        f"even without images, the page of {len(runs)} runs has more than"
        f" {LARGEST_BYTES} bytes: give fewer runs"
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
    yield from _quality(runs)
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
    fields = ("model", "num_params", "data", "data_dir", "split", "images", "step")
    for field in (*fields, "devices", "date"):
        texts = [html.escape(str(run.report.get(field, "-"))) for run in runs]
        yield [field.replace("_", " "), *texts]
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


def _quality(runs: Sequence[RunFiles]) -> Iterator[str]:
    """Yields HTML: plots of boundary scores and calibration, and a table of the runs.

    The table lists the difference in mean IoU between each run and the first run.
    """
    picture = quality_plots.draw(runs)
    if picture is not None:
        yield "<h2>Boundaries, calibration, single images</h2>"
        caption = "histogram of images, trimap, reliability, accuracy by confidence"
        yield page.figure_of(figures.png(picture, dpi=90), "png", caption)
    if len(runs) == 1:
        return
    yield f"<h2>Differences from {html.escape(runs[0].name)}</h2>"
    yield "<p>Mean IoU over classes that occur, in points, with 95 % intervals over"
    yield " resampled images.</p>"
    rows = []
    first = np.argsort(runs[0].ids)  # The order depends on the number of processes.
    for run in runs[1:]:
        order, name = np.argsort(run.ids), html.escape(run.name)
        if not np.array_equal(run.ids[order], runs[0].ids[first]):
            rows.append([name, "-", "scored on other images"])
            continue
        found = compared.bootstrap(runs[0].counts[first], run.counts[order])
        value, low, high = (f"{100 * x:+.2f}" for x in found)
        rows.append([name, value, f"{low} to {high}"])
    yield page.table(["run", "difference", "interval"], rows)


def _confusion(run: RunFiles) -> Iterator[str]:
    """Yields HTML of the confusion matrix: plots, links to CSV files, a table."""
    counts = run.confusion
    normalised = {
        "rows": (counts / np.maximum(counts.sum(1, keepdims=True), 1), "of a label"),
        "columns": (
            counts / np.maximum(counts.sum(0, keepdims=True), 1),
            "of a prediction",
        ),
    }
    links = [page.download(_csv(run, counts), f"{run.name}-pixels.csv", "pixels (CSV)")]
    for name, (fractions, meaning) in normalised.items():
        title = f"fractions {meaning}; darkest is 1"
        picture = quality_plots.draw_confusion(fractions, run.class_names, title)
        yield page.figure_of(figures.png(picture, dpi=80), "png", title)
        file = f"{run.name}-{name}.csv"
        links.append(page.download(_csv(run, fractions), file, f"by {name} (CSV)"))
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
            yield _legend(run, label, prediction)
            yield _presence(run, key, label)


def _legend(run: RunFiles, label: np.ndarray, prediction: np.ndarray) -> str:
    """Returns a legend of the classes that occur in two label maps."""
    shown = np.union1d(label, prediction)
    names = (
        page.swatch(run.colours[i]) + html.escape(run.class_names[i])
        for i in shown[shown != IGNORE_LABEL]
    )
    return f"<p>{' &nbsp; '.join(names)}</p>"


def _presence(run: RunFiles, key: str, label: np.ndarray) -> str:
    """Returns the HTML of a list of classes with the SE branch's probabilities.

    The list contains the classes with a probability of at least 0.5 and, in bold, the
    classes in the labels.
    """
    if f"{key}_presence" not in run.pictures:
        return ""
    expected = run.pictures[f"{key}_presence"]
    true = set(np.unique(label)) - {IGNORE_LABEL}
    words = []
    for i in np.argsort(-expected, kind="stable"):
        if expected[i] < 0.5 and i not in true:
            continue
        word = f"{html.escape(run.class_names[i])} {100 * expected[i]:.0f} %"
        words.append(f"<b>{word}</b>" if i in true else word)
    return f"<p>Predicted presence (bold: in the labels): {', '.join(words)}</p>"


def _marked(image: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Returns uint8[H, W, 3], the image in grey with the `wrong` pixels in red."""
    grey = np.repeat(image.mean(-1, keepdims=True).astype(np.uint8) // 2 + 96, 3, -1)
    grey[wrong] = (214, 39, 40)
    return grey


def _curves(runs: Sequence[RunFiles]) -> str:
    names = sorted({name for run in runs for name in run.scalars})
    shown = [name for name in names if name in ("train/loss", "train/learning_rate")]
    shown += [name for name in names if name.startswith("val/")][:6]
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
    """Runs the command: writes an HTML page that reports on several runs."""
    line = cli.CommandLine(argv, __doc__)
    line.argument("run", "Workdirs that eval.py has evaluated.", several=True)
    line.string("split", "Split of the reports. Default: that of the newest report.")
    line.string(
        "protocol", "Protocol of the reports. Default: that of the newest report."
    )
    line.string("output", "The file to write.", "report.html")
    values = line.parse()
    target = epath.Path(values.output)
    outputs.check_replaceable(target, "HTML report", "--output")
    checks.check_writable(target.parent)
    runs = run_files.read_all(values.run, values.split, values.protocol)
    from encnet_jax.checkpoints import read  # Imports JAX, so it follows the checks.

    for workdir, run in zip(values.run, runs, strict=True):
        print(read.describe_step(workdir, run.report["step"]))
    text = make(runs)
    target.parent.mkdir(parents=True, exist_ok=True)
    outputs.write(target, "HTML report", text, "--output")
    print(f"{', '.join(run.name for run in runs)}: {target} ({len(text) / 1e6:.1f} MB)")
