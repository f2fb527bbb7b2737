"""Names of files, runs and classes: bytes that are no text, limits, addresses."""

import os
import shlex

from fixtures import CHECK, command, flags, folder_set, named, noise
from registry import case

REPORT = "encnet_jax.report"


@case("name images of names that are no UTF-8, report html", 0, "", "run")
def no_text(root):
    for folder, end in (("images", b".jpg"), ("masks", b".png")):
        old = os.fsencode(root / "r/val" / folder / "0") + end
        os.rename(old, old.replace(b"/0.", b"/a\xff\xfe."))
    run = f"{root}/w"
    train = shlex.join(command("train.py", *flags(root / "r"), f"--workdir={run}"))
    score = shlex.join(command("eval.py", f"--workdir={run}"))
    page = shlex.join(command(REPORT, "html", run, f"--output={root}/x.html"))
    yield ["bash", "-c", f"{train} && {score} && {page}"]
    assert "a\\udcff\\udcfe" in (root / "x.html").read_text()


@case("name a workdir that is no UTF-8, train", 2, "is not UTF-8", "run")
def no_text_run(root):
    run = os.fsdecode(os.fsencode(root) + b"/r\xffn")
    yield command("train.py", *flags(root / "r"), f"--workdir={run}")
    assert len(os.listdir(root)) == 2


def named_run(name: str) -> None:
    """Registers the report of a run whose folder has a special name."""

    @case(f"name a run called {name}, report html", 0, "", "run")
    def page(root):
        run = root / name
        train = shlex.join(command("train.py", *flags(root / "r"), f"--workdir={run}"))
        score = shlex.join(command("eval.py", f"--workdir={run}"))
        page = shlex.join(command(REPORT, "html", str(run), f"--output={root}/x.html"))
        yield ["bash", "-c", f"{train} && {score} && {page}"]


@case("name a workdir with brackets, train", 2, "contains brackets", "run")
def brackets(root):
    yield command("train.py", *flags(root / "r"), f"--workdir={root}/a[1]")
    assert len(os.listdir(root)) == 2


named_run("$_$ a_{b")  # Read as mathematics by matplotlib.
named_run("a[1*?")  # Read as a pattern by glob.


@case("name a run called a[1]*?, export hub", 0, "", "run")
def scores_in_card(root):
    (root / "run").rename(root / "a[1]*?")
    where = f"--workdir={root}/a[1]*?", "--format=hub", f"--output={root}/net"
    score = shlex.join(command("eval.py", where[0]))
    export = shlex.join(command("encnet_jax.export", *where))
    yield ["bash", "-c", f"{score} && {export}"]
    assert "mean IoU" in (root / "net/README.md").read_text()


@case("name at the file system's limit, predict", 1, "labelled 1 of 2", "run")
def limit(root):
    (root / "p").mkdir()
    noise().save(root / "p" / ("x" * 251 + ".jpg"))
    noise().save(root / "p/good.jpg")
    where = f"--input={root}/p", f"--output={root}/o"
    yield command("predict.py", f"--workdir={root}/run", *where)
    assert len(list((root / "o").glob("good_*"))) == 3


ADDRESSES = ("https://a.b/c", "file:///tmp/x", "hf://a/b", "http:/a/b")
for address in ADDRESSES:

    @case(f"name {address}, train --workdir", 2, "expected a local path")
    def workdir(root, address=address):
        folder_set(root / "r")
        yield command("train.py", *flags(root / "r"), f"--workdir={address}")

    @case(f"name {address}, predict --input", 2, "expected a local path", "run")
    def source(root, address=address):
        where = f"--input={address}", f"--output={root}/o"
        yield command("predict.py", f"--workdir={root}/run", *where)

    @case(f"name {address}, data.folder.images", 2, "expected a local path")
    def images(root, address=address):
        folder_set(root / "r")
        words = flags(root / "r", f"--config.data.folder.images={address}")
        yield command(CHECK, *words)


REST = {
    "eval --refine": ("eval.py", "--workdir=run", "--refine=https://a.b/c"),
    "eval --temperature": ("eval.py", "--workdir=run", "--temperature=https://a.b/c"),
    "report context": (REPORT, "context", "https://a.b/c", "a.jpg"),
    "report context, an image": (REPORT, "context", "run", "https://a.b/c"),
    "sweep": ("encnet_jax.sweep", named("quickstart.py:smoke"), "--field=seed")
    + ("--values=1", "--workdir=https://a.b/c"),
}
for name, words in REST.items():

    @case(f"name https://a.b/c, {name}", 2, "expected a local path", "run")
    def other_flags(root, words=words):
        yield command(*words)


@case("name a split in a folder, eval", 2, "the split is 'val/a'", "run")
def nested_split(root):
    for kind in ("images", "masks"):
        (root / "r/val/a").mkdir(exist_ok=True)
        (root / "r/val" / kind).rename(root / "r/val/a" / kind)
    yield command("eval.py", f"--workdir={root}/run", "--split=val/a")


@case("name --weights that nobody published, predict", 2, "no published weights", "run")
def unpublished(root):
    where = f"--input={root}/r/val/images", f"--output={root}/o"
    yield command("predict.py", "--weights=nosuch", *where)


@case("name a folder ² in checkpoints, eval", 0, "pixel_accuracy", "run")
def superscript(root):
    (root / "run/checkpoints/²").mkdir()
    (root / "run/checkpoints/00").mkdir()
    yield command("eval.py", f"--workdir={root}/run")


@case("name --checkpoint of 5,000 digits, eval", 2, "--checkpoint is '1111", "run")
def digits(root):
    yield command("eval.py", f"--workdir={root}/run", f"--checkpoint={'1' * 5000}")
