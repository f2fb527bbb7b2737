"""Files of a run and of its export, and the readers of these files."""

import dataclasses
import functools
import json
import pathlib
import tempfile
from collections.abc import Callable

import jax
import numpy as np
from etils import epath

from encnet_jax import config as config_lib
from encnet_jax import tasks
from encnet_jax.checkpoints import scores
from encnet_jax.data import dataset_info
from encnet_jax.errors import UserError
from encnet_jax.evaluate import calibrate, refine, tables
from encnet_jax.plan import scaling
from encnet_jax.report import events, html, run_files
from encnet_jax.scoring.image_scores import ImageScores
from encnet_jax.scoring.metrics import ConfusionMatrix
from encnet_jax.scoring.protocols.dense_refined import FIELDS
from encnet_jax.scoring.seen import Seen
from encnet_jax.tasks import folder as folder_lib
from encnet_jax.train import assemble, starts
from encnet_jax.train.logbook import Logbook


def samples() -> dict[str, list[bytes]]:
    """Returns undamaged files of runs, for each kind in `readers`."""
    with tempfile.TemporaryDirectory() as name:
        run = write_files(pathlib.Path(name))
        return {
            "hub config": [(run / "hub/config.json").read_bytes()],
            "hub weights": [(run / "hub/model.safetensors").read_bytes()],
            "config": [(run / "config.json").read_bytes()],
            "report": [(run / "report.json").read_bytes()],
            "scores": [(run / "images-val-single-0.npz").read_bytes()],
            "starts": [(run / "time.json").read_bytes()],
            "refine": [(run / "refine.json").read_bytes()],
            "temperature": [(run / "temperature.json").read_bytes()],
            "plans": [(run / "plans.txt").read_bytes()],
            "score": [(run / "checkpoints/1/score.json").read_bytes()],
            "events": [path.read_bytes() for path in run.glob("events*")],
        }


@functools.cache
def _network() -> tuple:
    """Returns a tiny network's variables, all zero, and its configuration."""
    spec = pathlib.Path(__file__).parents[2] / "configs/quickstart.py"
    config = config_lib.resolve(config_lib.load(f"{spec}:smoke"), config_lib.Facts(400))
    model = tasks.of(config).build_model(13)
    side = config.data.crop_size
    # Random variables would need a compilation.
    made = jax.eval_shape(lambda: assemble.init_variables(model, config.seed, side))
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), made), config


def write_files(folder: pathlib.Path) -> pathlib.Path:
    """Writes the files of a run, and its export in hub/; returns the folder."""
    variables, config = _network()
    for name in ("hub", "checkpoints/1"):
        (folder / name).mkdir(parents=True)
    folder_lib.write(epath.Path(folder / "hub"), variables, config, 3)
    (folder / "config.json").write_text(config_lib.to_json(config))
    rng = np.random.default_rng(0)
    kept, matrix = ImageScores(), ConfusionMatrix(13)
    for i in range(3):
        label, found = rng.integers(0, 13, (2, 8, 8)).astype(np.uint8)
        one = ConfusionMatrix(13)
        one.update(label, found)
        matrix += one
        image = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
        example = {"id": f"x{i}", "image": image, "label": label}
        kept.add(example, Seen(one.counts, lambda found=found: found, None))
    kept.save(epath.Path(folder / "images-val-single-0.npz"), matrix, 7)
    names = dataset_info(config.data).class_names
    tables.save_report(epath.Path(folder / "report.json"), _report(names))
    seconds = dict.fromkeys(("start-up", "compiling", "steps"), 1.0)
    starts.write(str(folder), [starts.Start(0, 4, seconds, 0.0)])
    scores.write(epath.Path(folder / "checkpoints"), 1, 0.5)
    fields = {f.rpartition(".")[2]: config_lib.get(config, f) for f in FIELDS}
    (folder / "refine.json").write_text(json.dumps(fields))
    found = {"temperature": 1.5, "split": "train"}
    (folder / "temperature.json").write_text(json.dumps(found))
    plan = {"topology": "v5e:2x4", "images_per_chip": 2, "bytes_per_image": 1.0}
    (folder / "plans.txt").write_text(json.dumps(plan | {"flops_per_image": 2.0}))
    with Logbook(str(folder), config.train, start_step=0) as logbook:
        logbook.write(2, {"loss": 1.0, "learning_rate": 0.1})
    return folder


def _report(class_names: tuple[str, ...]) -> dict:
    return {
        "val/single/mean_iou": 0.5,
        "iou": dict.fromkeys(class_names, 0.5),
        "protocol": {"name": "single"},
        "split": "val",
        **{"images": 3, "step": 3, "evaluation": 7, "processes": 1},
        "quality": {
            "bands": {"1": 0.5, "3": None},
            "reliability": {"confidence": [0.5, None], "accuracy": [0.25, None]},
            "risk_coverage": {"kept": [0.5, 1.0], "accuracy": [1.0, 0.5]},
        },
        **dict.fromkeys(("rule", "data", "model", "devices", "commit"), "x"),
    }


def readers(folder: pathlib.Path) -> dict[str, list[Callable]]:
    """Returns the readers of a run's files, functions of content and name."""
    run = write_files(folder / "x-run")
    whole = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}

    def changed(name: str, read: Callable[[], object]):
        path = next(p for p in whole if p.relative_to(run).match(name))

        def reader(content: bytes, _: str):
            path.write_bytes(content)
            try:
                read()
            finally:
                path.write_bytes(whole[path])

        return [reader]

    hub, page = str(run / "hub"), functools.partial(_make_page, run)
    refined = functools.partial(_take_fields, run, "refine.json", refine.refine_fields)
    calibrated = functools.partial(
        _take_fields, run, "temperature.json", calibrate.temperature_fields
    )
    return {
        "hub config": changed("hub/config.json", lambda: folder_lib.read(hub)),
        "hub weights": changed("hub/model.safetensors", lambda: folder_lib.read(hub)),
        "config": changed(
            "config.json", lambda: config_lib.read_saved(run / "config.json")
        ),
        "report": changed("report.json", page),
        "scores": changed("images-val-single-0.npz", page),
        "starts": changed("time.json", lambda: _describe_starts(run)),
        "refine": changed("refine.json", refined),
        "temperature": changed("temperature.json", calibrated),
        "plans": changed(
            "plans.txt", lambda: scaling.read_plans(str(run / "plans.txt"))
        ),
        "score": changed("score.json", lambda: _read_scores(run)),
        "events": changed("events*", lambda: events.read_scalars(str(run))),
    }


def _make_page(run: pathlib.Path) -> None:
    # Without scalars, because drawing curves takes half a second.
    found = run_files.read(str(run), None, None)
    html.make([dataclasses.replace(found, scalars={})])


def _read_scores(run: pathlib.Path) -> None:
    found = scores.read_all(epath.Path(run / "checkpoints"))
    assert all(0 <= value <= 1 for value in found.values()), found


def _describe_starts(run: pathlib.Path) -> None:
    found = starts.read(str(run))
    if found:
        starts.describe(found)
        starts.lost_seconds(found, 2)


def _take_fields(run: pathlib.Path, name: str, read: Callable[[str], dict]) -> None:
    """Resolves the run's configuration with the fields that a file sets."""
    config = config_lib.read_saved(run / "config.json")
    try:
        config_lib.change(config, read(str(run / name)))
        config_lib.resolve(config)
    except UserError as error:  # The command adds the file's name.
        raise UserError(f"{name}: {error}") from None
