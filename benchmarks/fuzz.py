"""Damages thousands of files, reads each with every reader, and reports bad errors.

python -m benchmarks.fuzz --files 20000 --seed 0

A reader must either return or raise UserError with one line that names the file. Any
other outcome is printed and counted as an escape; the exit status is then 1. Files:
images and masks of all formats, .npz, .safetensors, .params, .pth, prepared records,
JSON lists; exported folders, reports, scores of images and of checkpoints, tables of
starts, CRF parameters, plans, TensorBoard files.
"""

import argparse
import collections
import contextlib
import dataclasses
import functools
import io
import json
import os
import pathlib
import shutil
import struct
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator

import numpy as np
import safetensors.numpy
import scipy.io
from etils import epath
from PIL import Image

from encnet_jax.checkpoints import integrity
from encnet_jax.data.archives import containers as archives
from encnet_jax.data.archives import matlab
from encnet_jax.data.archives.file_tree import StoredFile
from encnet_jax.data.archives.instances import Annotations, Keys
from encnet_jax.data.archives.json_stream import array_items
from encnet_jax.data.sets import named_info
from encnet_jax.data.sources import decode, npz, records
from encnet_jax.data.sources.decode import ImageRules
from encnet_jax.errors import UserError
from encnet_jax.torch_weights import files, state_dicts

RULES = ImageRules(max_pixels=1e6, value_range=(0, 65535))


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


def samples() -> dict[str, list[bytes]]:
    """Returns kind of reader -> undamaged files."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(0, 256, (24, 32, 3), np.uint8)
    ids = rng.integers(0, 11, (24, 32), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6

    def saved(array, kind, **options) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, kind, **options)
        return buffer.getvalue()

    def packed(**arrays) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)
        return buffer.getvalue()

    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.png", saved(ids, "PNG"))
    weights = {"a.running_var": np.ones(9, np.float32), "b": np.ones((3, 4))}
    sums = {"data": [5, "0" * 64]}
    coco = {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [[1, 2], {}]}
    images = [saved(rgb, kind) for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF")]
    images += [saved(rgb, "JPEG", exif=exif), saved(rgb, "PNG", exif=exif)]
    images += [saved(rgb, "JPEG", progressive=True), saved(rgb, "TIFF", exif=exif)]
    images += [saved(ids.astype(np.uint16), "PNG"), saved(np.float32(ids), "TIFF")]
    images += [saved(rgb, "TIFF", compression="tiff_lzw")]
    return {
        "images": images,
        "masks": [saved(ids, kind) for kind in ("PNG", "BMP", "TIFF")],
        ".npz": [
            packed(train_images=rgb[None], train_labels=ids[None]),
        ],
        ".safetensors": [safetensors.numpy.save(weights)],
        ".params": [_mxnet_file({"arg:a": np.ones((3, 4), np.float32)})],
        ".pth": _torch_files(weights),
        "archives": [zipped.getvalue()],
        "JSON": [json.dumps(x).encode() for x in (sums, coco)],
        "annotations": [_annotations()],
        "MATLAB": [_matlab(compressed) for compressed in (False, True)],
        **_samples_of_runs(),
    }


def _annotations() -> bytes:
    rle = {"size": [9, 7], "counts": [10, 20, 33]}
    found = [
        {"image_id": 1, "category_id": 3, "segmentation": segmentation}
        for segmentation in ([[0, 0, 5, 0, 5, 5]], rle)
    ]
    image = {"id": 1, "file_name": "a.jpg", "height": 9, "width": 7}
    return json.dumps({"images": [image], "annotations": found}).encode()


def _matlab(compressed: bool) -> bytes:
    buffer, mask = io.BytesIO(), np.ones((8, 9), np.uint8)
    names = np.array([["wall"], ["floor"]], object)
    variables = {"GTcls": {"Segmentation": mask}, "names": names}
    scipy.io.savemat(buffer, variables, do_compression=compressed)
    return buffer.getvalue()


def _samples_of_runs() -> dict[str, list[bytes]]:
    """Returns undamaged files of runs, for each kind in readers_of_runs."""
    with tempfile.TemporaryDirectory() as name:
        run = run_files_of(pathlib.Path(name))
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
    import jax

    from encnet_jax import config as config_lib
    from encnet_jax import tasks
    from encnet_jax.train import assemble

    spec = pathlib.Path(__file__).parent.parent / "configs/quickstart.py"
    config = config_lib.resolve(config_lib.load(f"{spec}:smoke"), config_lib.Facts(400))
    model = tasks.of(config).build_model(13)
    side = config.data.crop_size
    # Random variables would need a compilation.
    made = jax.eval_shape(lambda: assemble.init_variables(model, config.seed, side))
    return jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), made), config


def run_files_of(folder: pathlib.Path) -> pathlib.Path:
    """Writes the files of a run, and its export in hub/; returns the folder."""
    from encnet_jax import config as config_lib
    from encnet_jax.checkpoints import scores
    from encnet_jax.evaluate import tables
    from encnet_jax.scoring.image_scores import ImageScores
    from encnet_jax.scoring.metrics import ConfusionMatrix
    from encnet_jax.scoring.protocols.dense_refined import FIELDS
    from encnet_jax.scoring.seen import Seen
    from encnet_jax.tasks import folder as folder_lib
    from encnet_jax.train import starts
    from encnet_jax.train.logbook import Logbook

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
    from encnet_jax.data import dataset_info

    names = dataset_info(config.data).class_names
    report = {
        "val/single/mean_iou": 0.5,
        "iou": dict.fromkeys(names, 0.5),
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
    tables.save_report(epath.Path(folder / "report.json"), report)
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


def readers_of_runs(folder: pathlib.Path) -> dict[str, list[Callable]]:
    """Returns the readers of a run's files, functions of content and name."""
    from encnet_jax import config as config_lib
    from encnet_jax.checkpoints import scores
    from encnet_jax.evaluate import calibrate, refine
    from encnet_jax.plan import scaling
    from encnet_jax.report import events, html, run_files
    from encnet_jax.tasks import folder as folder_lib
    from encnet_jax.train import starts

    run = run_files_of(folder / "x-run")
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

    def page():
        # Without scalars, because drawing curves takes half a second.
        found = run_files.read(str(run), None, None)
        html.make([dataclasses.replace(found, scalars={})])

    def score():
        found = scores.read_all(epath.Path(run / "checkpoints"))
        assert all(0 <= value <= 1 for value in found.values()), found

    def start():
        found = starts.read(str(run))
        if found:
            starts.describe(found)
            starts.lost_seconds(found, 2)

    def of_fields(read: Callable[[str], dict], name: str):
        config = config_lib.read_saved(run / "config.json")
        try:
            config_lib.change(config, read(str(run / name)))
            config_lib.resolve(config)
        except UserError as error:  # The command adds the file's name.
            raise UserError(f"{name}: {error}") from None

    hub, plans = str(run / "hub"), str(run / "plans.txt")
    fitted = "temperature.json", calibrate.temperature_fields
    return {
        "hub config": changed("hub/config.json", lambda: folder_lib.read(hub)),
        "hub weights": changed("hub/model.safetensors", lambda: folder_lib.read(hub)),
        "config": changed(
            "config.json", lambda: config_lib.read_saved(run / "config.json")
        ),
        "report": changed("report.json", page),
        "scores": changed("images-val-single-0.npz", page),
        "starts": changed("time.json", start),
        "refine": changed(
            "refine.json", lambda: of_fields(refine.refine_fields, "refine.json")
        ),
        "temperature": changed(fitted[0], lambda: of_fields(*reversed(fitted))),
        "plans": changed("plans.txt", lambda: scaling.read_plans(plans)),
        "score": changed("score.json", score),
        "events": changed("events*", lambda: events.read_scalars(str(run))),
    }


# Kinds whose members are damaged, not only their bytes.
_OBJECTS = (
    *("hub config", "config", "report", "starts", "refine", "temperature", "plans"),
    *("score", "annotations"),
)


def _mxnet_file(arrays: dict[str, np.ndarray]) -> bytes:
    """Returns a .params file as written by MXNet 1.x; see torch_weights.mxnet."""
    content = struct.pack("<QQQ", 0x112, 0, len(arrays))
    for array in arrays.values():
        content += struct.pack("<IiI", 0xF993FAC9, 0, array.ndim)
        content += struct.pack(f"<{array.ndim}q", *array.shape)
        content += struct.pack("<iii", 1, 0, 0) + array.astype("<f4").tobytes()
    content += struct.pack("<Q", len(arrays))
    for name in arrays:
        content += struct.pack("<Q", len(name)) + name.encode()
    return content


def _torch_files(weights) -> list[bytes]:
    try:
        import torch
    except ImportError:
        return []
    buffers = []
    for new in (True, False):
        buffer = io.BytesIO()
        tensors = {name: torch.from_numpy(x) for name, x in weights.items()}
        torch.save(tensors, buffer, _use_new_zipfile_serialization=new)
        buffers.append(buffer.getvalue())
    return buffers


def readers(folder: pathlib.Path) -> dict[str, list[Callable[[bytes, str], object]]]:
    """Returns the readers of each kind of file, functions of content and name."""
    info = named_info("camvid")
    mask = decode.encode_png(np.zeros((24, 32), np.uint8))

    def stored(content: bytes, suffix: str) -> epath.Path:
        path = epath.Path(folder) / f"x{suffix}"
        path.write_bytes(content)
        return path

    def example(content: bytes, name: str):
        record = records.Record(name, content, mask, name, f"{name} mask")
        records.decode_record(record, info, RULES)

    def for_tensorflow(content: bytes, name: str):
        record = records.Record(name, content, mask, name, f"{name} mask")
        records.for_tensorflow(record, RULES)

    def weights(content: bytes, name: str):
        found = state_dicts.unwrap(files.read_state_dict(stored(content, name[1:])))
        for entry, values in found.items():
            state_dicts.check_values(f"{name}, {entry}", values)

    def archive(content: bytes, name: str):
        path = os.fspath(stored(content, ".zip"))
        with contextlib.closing(archives.open_archive(path, scratch=None)) as opened:
            for member in opened.names():
                opened.read(member)

    def sums(content: bytes, name: str):
        (folder / integrity.NAME).write_bytes(content)
        integrity.find_damage(epath.Path(folder))

    def items(content: bytes, name: str):
        list(array_items(io.BytesIO(content), name))

    def annotations(content: bytes, name: str):
        with open(stored(content, ".json"), "rb") as file:
            keys = Keys("annotations", "id")
            found = Annotations(file, name, keys, lambda annotation: True)
            for image_id in found.annotated():
                list(found.of_image(image_id))

    def variables(content: bytes, name: str):
        path = stored(content, ".mat")
        folder = archives.Folder(str(path.parent), [path.name], 1)
        found = matlab.variables(StoredFile(folder, path.name), "GTcls", "names")
        with matlab.described(name):
            matlab.mask(found["GTcls"]["Segmentation"])

    return {
        "images": [
            lambda content, name: decode.decode_image(content, name, RULES),
            lambda content, name: decode.image_size(content, name, RULES),
            example,
            for_tensorflow,
        ],
        "masks": [
            lambda content, name: decode.decode_mask(content, name, RULES),
            lambda content, name: decode.tensorflow_decodes(
                content, name, RULES, mask=True
            ),
        ],
        ".npz": [lambda content, name: npz.load(stored(content, ".npz"), "arrays", 64)],
        ".safetensors": [weights],
        ".params": [weights],
        ".pth": [weights],
        "archives": [archive],
        "JSON": [sums, items],
        "annotations": [annotations],
        "MATLAB": [variables],
        **readers_of_runs(folder),
    }


def escapes(
    number: int, seed: int, folder: pathlib.Path, leave_out: tuple[str, ...] = ()
) -> Iterator[tuple[str, str, bytes | None]]:
    """Yields (kind, outcome, content) for each reading; content is None if it passed.

    Args:
        number: number of damaged files, spread over the kinds.
        seed: seed of the damage.
        folder: folder for the files.
        leave_out: kinds to skip, such as '.pth', which needs PyTorch.

    The outcome is 'read', 'refused', or a description of the escaped error.
    """
    sound, read = samples(), readers(folder)
    kinds = [kind for kind, x in sound.items() if x and kind not in leave_out]
    for i in range(number):
        kind = kinds[i % len(kinds)]
        rng = np.random.default_rng([seed, i])
        contents = sound[kind]
        whole = contents[int(rng.integers(len(contents)))]
        by_member = kind in _OBJECTS and rng.integers(2)
        content = (damaged_json if by_member else damaged)(whole, rng)
        for reader in read[kind]:
            name = f"x{kind}" if kind[0] == "." else f"x {kind}"
            try:
                reader(content, name)
                yield kind, "read", None
            except UserError as error:
                line = str(error)
                named = "\n" not in line and ("x" in line)
                yield kind, "refused" if named else f"unnamed: {line}", None
            except Exception as error:
                yield kind, f"{type(error).__name__}: {error}"[:200], content


def prepared_escapes(number: int, seed: int, folder: pathlib.Path):
    """Does the same as `escapes`, for the files of a data set that TFDS prepared."""
    from encnet_jax.data.prepare.__main__ import prepare
    from encnet_jax.data.sources.prepared import PreparedSource

    info = named_info("camvid")
    for split in ("train", "val"):
        for i in range(3):
            pixels = np.random.default_rng(i).integers(0, 11, (24, 32), np.uint8)
            for kind, name in ((split, f"{i}.png"), (f"{split}annot", f"{i}.png")):
                file = folder / "source" / kind / name
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(file)
    whole = folder / "whole"
    prepare("camvid", source=str(folder / "source"), data_dir=str(whole))
    names = sorted(p.relative_to(whole) for p in whole.rglob("*") if p.is_file())
    for i in range(number):
        rng = np.random.default_rng([seed, i])
        copy = folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(whole, copy)
        file = copy / names[int(rng.integers(len(names)))]
        content = damaged(file.read_bytes(), rng)
        file.write_bytes(content)
        try:
            source = PreparedSource(info, str(copy))
            for split, size in source.sizes().items():
                for index in range(size):
                    source.example(split, index)
            yield "prepared", "read", None
        except UserError as error:
            named = "\n" not in str(error)
            yield "prepared", "refused" if named else f"unnamed: {error}", None
        except Exception as error:
            yield "prepared", f"{type(error).__name__}: {error}"[:200], content


def main() -> int:
    """Prints the counts; returns 1 if there were escapes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--prepared", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    counts, began = collections.Counter(), time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for make, number in ((escapes, args.files), (prepared_escapes, args.prepared)):
            for kind, outcome, _ in make(number, args.seed, folder):
                counts[kind, outcome] += 1
    bad = {key: n for key, n in counts.items() if key[1] not in ("read", "refused")}
    for (kind, outcome), number in sorted(counts.items()):
        print(f"{kind:<14} {number:>7} {outcome}")
    total = args.files + args.prepared
    print(
        f"{total} files, {sum(counts.values())} readings, {sum(bad.values())} escapes"
    )
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
