"""Measures the input pipeline in images per CPU second, by stage.

python -m benchmarks.input_pipeline [--data_dir data] [--step-rate 100]
taskset -c 0,1 python -m benchmarks.input_pipeline --sets "ADE20K size"

The pipeline reads encoded files and returns augmented crops. Three data sets: CamVid,
if it is prepared in --data_dir, and generated images of ADE20K's most frequent size and
of Cityscapes' size. A CPU second is one core busy for a second, for any number of
threads. Both readers have as many workers as the process may use cores: `taskset`
limits them. As in train.py, freed memory is kept by the process.
"""

import argparse
import dataclasses
import itertools
import pathlib
import sys
import tempfile
import time
from functools import partial

import numpy as np
from PIL import Image

from benchmarks import measure
from encnet_jax import config as config_lib
from encnet_jax.config import defaults
from encnet_jax.data import open_dataset
from encnet_jax.data.augment.plan import AugmentParams, draw
from encnet_jax.data.pipelines.tensorflow import augmented, decode
from encnet_jax.data.sources.tensorflow_import import tensorflow
from encnet_jax.errors import UserError
from encnet_jax.pods import allocator

# (width, height) in pixels (for ADE20K the most frequent), and suffix of the images.
SETS = {
    "ADE20K size": ((683, 512), ".jpg"),
    "Cityscapes size": ((2048, 1024), ".png"),
}
MADE_IMAGES = 32


def make_images(folder: pathlib.Path, size: tuple[int, int], suffix: str) -> None:
    """Writes images with detail at several scales, and masks of large regions."""
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for i in range(MADE_IMAGES):
        layers = []
        for cells in (4, 16, 64, 256):
            noise = rng.integers(0, 256, (cells, cells, 3), np.uint8)
            layer = Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)
            layers.append(np.float32(layer) / cells**0.5)
        total = sum(layers)
        pixels = np.uint8(255 * total / total.max())
        Image.fromarray(pixels).save(folder / "images" / f"{i}{suffix}", quality=90)
        ids = rng.integers(0, 150, (6, 8), np.uint8)
        mask = Image.fromarray(ids).resize(size, Image.Resampling.NEAREST)
        mask.save(folder / "masks" / f"{i}.png")


def make_config(args, folder: pathlib.Path | None):
    """Returns the configuration of the generated images, or of CamVid."""
    config = defaults.get_config()
    config.data.crop_size = args.crop
    config.data.data_dir = args.data_dir
    config.data.name = "camvid"
    if folder is not None:
        config.data.name = "folder"
        config.data.folder.images = str(folder / "images")
        config.data.folder.masks = str(folder / "masks")
        config.data.folder.class_names = tuple(f"class {i}" for i in range(150))
    config.train.total_steps = 1000
    return config_lib.resolve(config)


def stages(dataset, config) -> dict:
    """Returns stage -> function of a number of images; each stage adds work."""
    tf = tensorflow()
    source, split = dataset.source, config.data.train_split
    count = dataset.num_examples(split)
    id_map = dataset.info.id_map
    spec = tf.TensorSpec((), tf.string)
    params = tf.TensorSpec((len(AugmentParams._fields),), tf.float64)

    @tf.function(input_signature=(spec, spec))
    def decoded(image, mask):
        return decode(image, mask, id_map)

    @tf.function(input_signature=(spec, spec, params))
    def cropped(image, mask, drawn):
        return augmented(*decode(image, mask, id_map), drawn, config.data)

    def records(number):
        for i in range(number):
            yield i, source.record(split, i % count)

    def read(number):
        for _ in records(number):
            pass

    def read_and_decode(number):
        for _, record in records(number):
            decoded(record.image, record.mask)

    def read_to_crop(number):
        for i, record in records(number):
            drawn = draw(config.data.augment, seed=0, epoch=0, index=i)
            cropped(record.image, record.mask, np.array(drawn))

    def batches(opened, number):
        size = 16
        feed = opened.train_batches(split, batch_size=size, seed=0)
        for _ in itertools.islice(feed, number // size):
            pass

    in_threads = open_dataset(dataclasses.replace(config.data, reader="arrays"))
    return {
        "read": read,
        "read, decode": read_and_decode,
        "read, decode, crop": read_to_crop,
        "batches of 16": partial(batches, dataset),
        "batches of 16, without TensorFlow": partial(batches, in_threads),
    }


def rates(work, number: int) -> dict:
    """Returns images per CPU second and per second of wall time."""
    work(16)
    wall, cpu = time.perf_counter(), time.process_time()
    work(number)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"images/CPU s": number / cpu, "images/s": number / wall}


def main() -> None:
    """Prints the results as a table, and as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", default="data")
    parser.add_argument("--crop", type=int, default=480)
    parser.add_argument("--images", type=int, default=480)
    parser.add_argument("--sets", nargs="+", choices=[*SETS, "CamVid"])
    parser.add_argument(
        "--step-rate", type=float, default=100.0, help="images/s of the device to feed"
    )
    args = parser.parse_args()
    allocator.keep_freed_memory()
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        for label, images in {**SETS, "CamVid": None}.items():
            if label not in (args.sets or [label]):
                continue
            folder = None
            if images is not None:
                folder = pathlib.Path(name) / label
                folder.mkdir()
                make_images(folder, *images)
            config = make_config(args, folder)
            try:
                dataset = open_dataset(config.data)
            except UserError as error:
                print(f"{label} left out: {error}", file=sys.stderr)
                continue
            for stage, work in stages(dataset, config).items():
                row = rates(work, args.images)
                row["cores to feed"] = args.step_rate / row["images/CPU s"]
                rows[f"{label}: {stage}"] = row
    measure.report(
        f"crops of {args.crop}; cores for {args.step_rate:g} images/s", rows, vars(args)
    )


if __name__ == "__main__":
    main()
