"""Full disks and missing rights where libraries write."""

import os
import shlex

import made_datasets
from fixtures import PREPARE, as_nobody, command, flags, full_disk
from registry import case

EXPORT = "encnet_jax.export"
WEIGHTS = "encnet_jax.torch_weights"


def nothing_half(folder) -> None:
    left = [path.name for path in folder.rglob("*") if ".partial" in path.name]
    assert not left, left


@case("disk full, prepare at its start", 2, "free some space")
def prepare_start(root):
    made_datasets.pascal_voc(root / "s")
    words = "pascal_voc", f"--source={root}/s", f"--data_dir={root}/d"
    yield full_disk(command(PREPARE, *words), kib=1)
    assert not list((root / "d").rglob("dataset_info.json"))


@case("disk full, prepare midway", 2, "free some space")
def prepare_midway(root):
    made_datasets.pascal_voc(root / "s")
    words = "pascal_voc", f"--source={root}/s", f"--data_dir={root}/d"
    yield full_disk(command(PREPARE, *words), kib=2)
    assert not list((root / "d").rglob("dataset_info.json"))


@case("disk full, predict --scores", 2, "File too large", "run")
def scores(root):
    where = f"--input={root}/r/val/images", f"--output={root}/o", "--scores"
    words = command("predict.py", f"--workdir={root}/run", *where)
    yield full_disk(words, kib=1)
    assert not list((root / "o").glob("*_top.npz"))
    nothing_half(root / "o")


for kind, name in (("hub", "net"), ("stablehlo", "p.bin")):

    @case(f"disk full, export {kind}", 2, f"{name}: File too large", "run")
    def export(root, kind=kind, name=name):
        more = () if kind == "hub" else ("--size=64x64",)
        words = f"--workdir={root}/run", f"--format={kind}", f"--output={root}/{name}"
        yield full_disk(command(EXPORT, *words, *more), kib=8)
        assert not (root / name).exists()
        nothing_half(root)


@case("disk full, weights import", 2, "w/checkpoints: File too large", "run")
def weights_import(root):
    file = f"{root}/w.safetensors"
    export = command(WEIGHTS, "export", f"--workdir={root}/run", f"--output={file}")
    words = *flags(root / "r"), f"--source={file}", f"--workdir={root}/w"
    full = full_disk(command(WEIGHTS, "import", *words), kib=4)
    yield ["bash", "-c", f"{shlex.join(export)} && {shlex.join(full)}"]


@case("disk rights, weights export", 2, "Permission denied", "run")
def weights_export(root):
    (root / "o").mkdir(mode=0o555)
    words = f"--workdir={root}/run", f"--output={root}/o/w.safetensors"
    yield as_nobody(root, command(WEIGHTS, "export", *words))
    assert not os.listdir(root / "o")
