"""Files of the user that were overwritten, removed, or written through a link."""

import os
import shlex

from fixtures import command, flags, folder_set, named, program
from PIL import Image
from registry import case, digest

PRECIOUS = '{"mine": 1}'
REPORT = "encnet_jax.report"
EXPORT = "encnet_jax.export"


def mine(path) -> str:
    """Writes a file of the user; returns its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(PRECIOUS)
    return digest(path)


def kept(name: str, says: str, file: str, *words: str, needs=("run",), status=2):
    """Registers a command that must leave a file as it is."""

    @case(f"replaced {name}", status, says, *needs)
    def run(root):
        if not needs:
            folder_set(root / "r")
        before = mine(root / file)
        given = [word.replace("ROOT", str(root)) for word in words]
        if given[0] == "train.py":
            given += flags(root / "r")
        yield command(*given)
        assert digest(root / file) == before


THERE = "exists and was not written by encnet_jax"
for file in ("config.json", "time.json", "scalars.csv"):
    kept(
        f"a foreign {file}, train",
        THERE,
        f"w/{file}",
        "train.py",
        "--workdir=ROOT/w",
        needs=(),
    )
for file in ("report.json", "report-val-single.json", "images-val-single-0.npz"):
    kept(
        f"a foreign {file}, eval --output",
        THERE,
        f"o/{file}",
        "eval.py",
        "--workdir=ROOT/run",
        "--output=ROOT/o",
    )
kept(
    "a foreign refine.json, report refine",
    THERE,
    "run/refine.json",
    *(REPORT, "refine", "ROOT/run"),
)
kept(
    "a foreign page, report html",
    THERE,
    "x.html",
    *(REPORT, "html", "ROOT/run", "--output=ROOT/x.html"),
)
kept(
    "a foreign picture, report compare",
    THERE,
    "x.png",
    *(REPORT, "compare", "ROOT/run", "--output=ROOT/x.png"),
)
kept(
    "a foreign picture, report gridding",
    THERE,
    "x.png",
    *(REPORT, "gridding", "--output=ROOT/x.png"),
)
FILE = "--workdir=ROOT/run", "--format=stablehlo", "--size=64x64"
kept(
    "a foreign sidecar, export",
    THERE,
    "p.bin.json",
    *(EXPORT, *FILE, "--output=ROOT/p.bin"),
)
kept(
    "a foreign NAME.partial, export",
    "wrote",
    "p.bin.partial",
    *(EXPORT, *FILE, "--output=ROOT/p.bin"),
    status=0,
)
kept(
    "a foreign folder NAME.partial, export hub",
    "wrote",
    "net.partial/thesis.txt",
    *(EXPORT, "--workdir=ROOT/run", "--format=hub", "--output=ROOT/net"),
    status=0,
)


@case("replaced the run's own config.json, report html --output", 2, THERE, "run")
def page_over_configuration(root):
    before = mine(root / "run/config.json")
    page = f"--output={root}/run/config.json"
    yield command(REPORT, "html", f"{root}/run", page)
    assert digest(root / "run/config.json") == before


@case("replaced the configuration of an exported folder, train", 2, THERE, "run")
def hub(root):
    export = shlex.join(
        command(EXPORT, f"--workdir={root}/run", "--format=hub", f"--output={root}/h")
    )
    train = shlex.join(command("train.py", *flags(root / "r"), f"--workdir={root}/h"))
    sums = f"sha256sum {root}/h/config.json"
    same = "sha256sum -c s && exit 2"
    yield ["bash", "-c", f"{export} && {sums} > s && ! {train} && {same}"]
    assert "checkpoints" not in os.listdir(root / "h")


@case("replaced checkpoints of another program, train", 2, "choose another --workdir")
def checkpoints(root):
    folder_set(root / "r")
    before = mine(root / "w/checkpoints/1000/model.pt")
    yield command("train.py", *flags(root / "r"), f"--workdir={root}/w")
    assert digest(root / "w/checkpoints/1000/model.pt") == before


@case("replaced a link .lock is not followed, train", 2, "is a symbolic link")
def lock(root):
    folder_set(root / "r")
    before = mine(root / "dotfile")
    (root / "w").mkdir()
    (root / "w/.lock").symlink_to(root / "dotfile")
    yield command("train.py", *flags(root / "r"), f"--workdir={root}/w")
    assert digest(root / "dotfile") == before


@case("replaced links of the names of a run's files, train", 0, "trained 4 steps")
def files_of_run(root):
    folder_set(root / "r")
    (root / "w").mkdir()
    names = "config.json", "time.json", "scalars.csv"
    for name in names:
        (root / name).write_text(f"{name} of the user")
        (root / "w" / name).symlink_to(root / name)
    yield command("train.py", *flags(root / "r"), f"--workdir={root}/w")
    for name in names:
        assert (root / name).read_text() == f"{name} of the user"


@case("replaced links of the names of results, predict --overwrite", 0, "", "run")
def results(root):
    before = mine(root / "victim")
    (root / "o").mkdir()
    for end in ("ids.png", "overlay.png", "top.npz"):
        (root / f"o/0_{end}").symlink_to(root / "victim")
    where = f"--input={root}/r/val/images/0.jpg", f"--output={root}/o"
    yield command(
        "predict.py", f"--workdir={root}/run", *where, "--scores", "--overwrite"
    )
    assert digest(root / "victim") == before
    assert not any(path.is_symlink() for path in (root / "o").iterdir())


@case("replaced a picture of the user, export_images", 2, THERE)
def exported_images(root):
    folder_set(root / "r")
    own = root / "o/labels/0.png"
    own.parent.mkdir(parents=True)
    Image.new("RGB", (9, 9)).save(own)
    before = digest(own)
    words = *flags(root / "r"), "--count=2", f"--output={root}/o"
    yield command("encnet_jax.data.export_images", *words)
    assert digest(own) == before


for value in ("/../../x", "../y", "a/b"):

    @case(f"replaced a sweep leaves its folder, --values={value}", 2, "--values")
    def sweep(root, value=value):
        words = named("quickstart.py:smoke"), "--field=data.name", f"--values={value}"
        (root / "s").mkdir()
        yield command("encnet_jax.sweep", *words, f"--workdir={root}/s/s")
        assert {path.name for path in root.iterdir()} == {"s"}
        assert not list((root / "s").iterdir())


@case("held a second run writes over its own files, eval", 0, "pixel_accuracy", "run")
def twice(root):
    train = shlex.join(command("train.py", *flags(root / "r"), f"--workdir={root}/w"))
    line = shlex.join(command("eval.py", f"--workdir={root}/w"))
    page = shlex.join(command(REPORT, "html", f"{root}/w", f"--output={root}/x.html"))
    yield ["bash", "-c", f"set -e; {'; '.join(2 * [train, line, page])}; {line}"]


@case("replaced a name that is taken while the work goes on, eval", 2, THERE, "run")
def during(root):
    text = """
from encnet_jax import cli
from encnet_jax.commands import eval as command
from encnet_jax.scoring.evaluator import Evaluator

confusion = Evaluator.confusion

def counted(self, *args, **kwargs):
    open("run/report.json", "w").write("mine")
    return confusion(self, *args, **kwargs)

Evaluator.confusion = counted
cli.start(command.main)
"""
    yield program(root, text, f"--workdir={root}/run")
    assert (root / "run/report.json").read_text() == "mine"
