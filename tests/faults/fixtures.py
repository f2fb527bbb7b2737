"""What the cases of faults start from: small files, a run, commands."""

import io
import os
import pathlib
import struct
import sys
import zlib

import numpy as np
import xla_flags
from PIL import Image

PROJECT = pathlib.Path(__file__).resolve().parent.parent.parent
# What eval.py may replace.
OLDER_REPORT = '{"rule": "", "split": "val", "protocol": {}, "step": -1}'
CHECK = "encnet_jax.data.check"
PREPARE = "encnet_jax.data.prepare"
# The package is imported from the project, wherever the case is started.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(PROJECT),
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": xla_flags.quick(level=0, devices=1),
}


def folder_set(root: pathlib.Path, *, side: int = 64, count: int = 8) -> None:
    """Writes train and val: noise, and masks of two classes that follow its red."""
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (root / split / kind).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            rng = np.random.default_rng(i)
            image = rng.integers(0, 255, (side, side, 3)).astype(np.uint8)
            Image.fromarray(image).save(root / split / "images" / f"{i}.jpg")
            mask = Image.fromarray(image[..., 0] // 128)
            mask.save(root / split / "masks" / f"{i}.png")


def named(config: str) -> str:
    """Returns the flag that names one of the project's configurations."""
    return f"--config={PROJECT}/configs/{config}"


def flags(root: pathlib.Path, *more: str, reader: str = "arrays") -> list[str]:
    """Returns the flags of a tiny network on what folder_set wrote.

    Commands run in the case's folder, and name the set as the run that they copied.
    What `more` gives replaces its field: of a list, ml_collections would join the two.
    """
    fields = {
        "data.folder.images": f"{root.name}/{{split}}/images",
        "data.folder.masks": f"{root.name}/{{split}}/masks",
        "data.folder.class_names": "('a','b')",
        "data.reader": reader,
        "data.crop_size": 64,
        "train.batch_size": 4,
        "train.total_steps": 4,
        "train.num_pictures": 0,
    }
    given = {word.partition("=")[0].removeprefix("--config.") for word in more}
    kept = {name: value for name, value in fields.items() if name not in given}
    return [
        named("folder.py:tiny"),
        *(f"--config.{k}={v}" for k, v in kept.items()),
        *more,
    ]


def make(root: pathlib.Path, needs: set[str]) -> None:
    """Makes what cases copy, by their names in registry.MADE.

    'run' is a data set r and a run on it; 'data' is a prepared CamVid in d; 'hub' is
    the same network exported to hand on, in h.
    """
    if "run" in needs:
        folder_set(root / "run/r")
        save_run(root / "run/run")
    if "hub" in needs:
        (root / "hub/h").mkdir(parents=True)
        save_hub(root / "hub/h")
    if "data" in needs:
        from encnet_jax.data.prepare.__main__ import prepare

        for split in ("train", "val"):
            for folder in (split, f"{split}annot"):
                (root / "s" / folder).mkdir(parents=True)
                for i in range(3):
                    noise("L").point(lambda x: x % 11).save(
                        root / f"s/{folder}/{i}.png"
                    )
        (root / "data").mkdir()
        prepare("camvid", source=str(root / "s"), data_dir=str(root / "data/d"))


def save_run(workdir: pathlib.Path) -> None:
    """Writes a checkpoint of random weights, as a training of no steps would.

    Its data are in the folder r of the place where it is used.
    """
    from encnet_jax.checkpoints import read

    read.save_variables(str(workdir), *untrained())


def save_hub(folder: pathlib.Path) -> None:
    """Writes the network of save_run as an export to a model hub does."""
    from etils import epath

    from encnet_jax.tasks import folder as folder_lib

    variables, config = untrained()
    folder_lib.write(epath.Path(folder), variables, config, 0)


def untrained() -> tuple:
    """Returns random variables and the configuration of a tiny network."""
    import jax

    from encnet_jax import config as config_lib
    from encnet_jax import tasks
    from encnet_jax.train import assemble

    config = config_lib.load(f"{PROJECT}/configs/folder.py:tiny")
    config.data.folder.images = "r/{split}/images"
    config.data.folder.masks = "r/{split}/masks"
    config.data.folder.class_names = ("a", "b")
    config.data.reader, config.data.crop_size = "arrays", 64
    config.train.batch_size = 4
    config = config_lib.resolve(config, config_lib.Facts(8))
    model = tasks.of(config).build_model(2)
    made = jax.eval_shape(
        lambda: assemble.init_variables(model, config.seed, config.data.crop_size)
    )
    rng = np.random.default_rng(0)

    def drawn(path, x):  # By JAX it would cost a compilation of minutes.
        values = rng.normal(0, 0.05, x.shape)
        return (values + (path[-1].key in ("scale", "var"))).astype(x.dtype)

    return jax.tree_util.tree_map_with_path(drawn, made), config


def bomb(path: pathlib.Path, width: int, height: int) -> None:
    """Writes a small PNG of one-bit zeros that decodes to very many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    compressor, row = zlib.compressobj(9), b"\0" + bytes((width + 7) // 8)
    rows = b"".join(compressor.compress(row) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", rows + compressor.flush()), (b"IEND", b"")
    content = b"".join(chunk(kind, data) for kind, data in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def noise(mode: str = "RGB", side: int = 64) -> Image.Image:
    """Returns a square picture of noise."""
    pixels = np.random.default_rng(3).integers(0, 255, (side, side, 3)).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def deep() -> Image.Image:
    """Returns a grey picture of 16 bits."""
    return Image.fromarray(np.asarray(noise("L")).astype(np.uint16) * 200)


def turned(width: int, height: int) -> bytes:
    """Returns a JPEG that EXIF says to turn by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(noise().resize((width, height)), "JPEG", exif=exif)


def encoded(picture: Image.Image, kind: str, **options) -> bytes:
    """Returns a picture as the bytes of a file."""
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def command(name: str, *arguments) -> list[str]:
    """Returns the command line of a script of the project, or of a module."""
    where = [str(PROJECT / name)] if name.endswith(".py") else ["-m", name]
    return [sys.executable, *where, *map(str, arguments)]


def run_file(name: str) -> str:
    """Returns the path of a program beside the cases."""
    return str(pathlib.Path(__file__).parent / name)


def program(root: pathlib.Path, text: str, *arguments) -> list[str]:
    """Writes a program into the case's folder; returns its command line."""
    path = root / "program.py"
    path.write_text(text)
    return [sys.executable, str(path), *map(str, arguments)]


def as_nobody(root: pathlib.Path, words: list[str]) -> list[str]:
    """Drops root's right to read and write everything."""
    root.chmod(0o777)
    caps = "-dac_override,-dac_read_search,-fowner"
    return ["setpriv", f"--bounding-set={caps}", "--inh-caps=-all", *words]


def full_disk(words: list[str], kib: int) -> list[str]:
    """Runs a command that can write no file of more than so many KiB.

    Python would write truncated bytecode into the project, which it cannot read later.
    """
    uncached = ["env", "JAX_COMPILATION_CACHE_DIR=", "PYTHONDONTWRITEBYTECODE=1"]
    return ["bash", "-c", f'ulimit -f {kib}; exec "$@"', "_", *uncached, *words]
