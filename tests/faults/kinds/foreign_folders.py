"""Hub folders, reports and files of other shapes; what is no regular file."""

import json
import os

from fixtures import PREPARE, command, flags, folder_set, named
from registry import case

REPORT = "encnet_jax.report"


def labelled(root) -> list[str]:
    from fixtures import noise

    noise().save(root / "a.jpg")
    where = f"--input={root}/a.jpg", f"--output={root}/o"
    return command("predict.py", f"--workdir={root}/h", *where)


def handed(name: str, says: str, change) -> None:
    """Registers a prediction with an exported folder that was changed."""

    @case(f"foreign hub folder: {name}, predict", 2, says, "hub")
    def run(root):
        path = root / "h/config.json"
        change(path)
        yield labelled(root)
        assert not list((root / "o").glob("*"))


def edit(change):
    def edited(path):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edited


def text(content: str):
    return lambda path: path.write_text(content)


handed("a list", "contains a list", text("[]"))
handed("nested 100,000 times", "nested too deeply", text("[" * 100_000))
handed("no step", "step is missing", edit(lambda c: c.pop("step")))
handed(
    "no configuration",
    "configuration is missing",
    edit(lambda c: c.pop("configuration")),
)
handed(
    "an unknown architecture",
    "architecture is 'zzz'",
    edit(lambda c: c["configuration"].update(architecture="zzz")),
)
handed(
    "one class",
    "expected float32",
    edit(lambda c: c["configuration"]["data"]["folder"].update(class_names=["a"])),
)
handed(
    "65,536 classes",
    "at most 255 names",
    edit(
        lambda c: c["configuration"]["data"]["folder"].update(class_names=["a"] * 65536)
    ),
)
handed(
    "another backbone",
    "does not match the network",
    edit(lambda c: c["configuration"]["model"].update(backbone="resnet101")),
)
handed(
    "a number of 400 digits",
    "optim.base_lr is 1000",
    edit(lambda c: c["configuration"]["optim"].update(base_lr=10**400)),
)
handed("no SHA-256", "sha256 is missing", edit(lambda c: c.pop("sha256")))


@case("foreign hub folder: the configuration is a list, init_from", 2, "", "hub")
def initialised(root):
    folder_set(root / "r")
    edit(lambda c: c.update(configuration=[]))(root / "h/config.json")
    words = *flags(root / "r"), f"--config.init_from={root}/h", f"--workdir={root}/w"
    yield command("train.py", *words)
    assert not (root / "w").exists()


def weights(change):
    def changed(path):
        file = path.with_name("model.safetensors")
        file.write_bytes(change(bytearray(file.read_bytes())))

    return changed


def flipped(data: bytearray) -> bytearray:
    data[-5] ^= 1
    return data


handed("a flipped byte", "has changed since", weights(flipped))
handed("a cut weight file", "has changed since", weights(lambda data: data[:-1]))


def as_fifo(path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


handed("config.json is a FIFO", "FIFO", as_fifo)
handed(
    "model.safetensors is a FIFO",
    "FIFO",
    lambda path: as_fifo(path.with_name("model.safetensors")),
)


def waited_for(name: str, file: str, needs, statuses, *words: str) -> None:
    """Registers a command that reads a FIFO; it must not wait."""

    @case(f"foreign FIFO: {name}", statuses, "", *needs)
    def run(root):
        if not (root / "r").exists():
            folder_set(root / "r")
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        as_fifo(path)
        given = [word.replace("ROOT", str(root)) for word in words]
        if given[0] in ("train.py", "encnet_jax.data.check"):
            given += flags(root / "r")
        yield command(*given)


RUN = ("run",)
waited_for(
    "a training image, train",
    "r/train/images/3.jpg",
    (),
    2,
    *("train.py", "--workdir=ROOT/w", "--config.data.max_unreadable_share=0"),
)
waited_for("a mask, check", "r/val/masks/3.png", (), 1, "encnet_jax.data.check")
waited_for(
    "config.json of the workdir, train",
    "w/config.json",
    (),
    2,
    *("train.py", "--workdir=ROOT/w"),
)
waited_for(
    ".lock of the workdir, train", "w/.lock", (), 2, "train.py", "--workdir=ROOT/w"
)
waited_for(
    "init_from, train",
    "w.safetensors",
    (),
    2,
    *("train.py", "--workdir=ROOT/w", "--config.init_from=ROOT/w.safetensors"),
)
waited_for(
    "the checksums of a checkpoint, eval",
    "run/checkpoints/0/sha256.json",
    RUN,
    2,
    *("eval.py", "--workdir=ROOT/run"),
)
waited_for(
    "a score, eval",
    "run/checkpoints/0/score.json",
    RUN,
    0,
    *("eval.py", "--workdir=ROOT/run"),
)
waited_for(
    "report.json, eval", "run/report.json", RUN, 2, "eval.py", "--workdir=ROOT/run"
)
waited_for(
    "--refine, eval",
    "refine.json",
    RUN,
    2,
    *("eval.py", "--workdir=ROOT/run", "--refine=ROOT/refine.json"),
)
waited_for(
    "report.json, report html", "run/report.json", RUN, 2, REPORT, "html", "ROOT/run"
)
waited_for(
    "events, report curves",
    "run/events.out.tfevents.1.a",
    RUN,
    2,
    *(REPORT, "curves", "ROOT/run", "--output=ROOT/x.png"),
)
waited_for(
    "--input, predict",
    "a.jpg",
    RUN,
    2,
    *("predict.py", "--workdir=ROOT/run", "--input=ROOT/a.jpg", "--output=ROOT/o"),
)
waited_for(
    "--plans, plan.scaling",
    "plans.txt",
    (),
    2,
    *("encnet_jax.plan.scaling", named("quickstart.py:smoke")),
    "--plans=ROOT/plans.txt",
)
waited_for(
    "--source, prepare",
    "cam.zip",
    (),
    2,
    *(PREPARE, "camvid", "--source=ROOT/cam.zip", "--data_dir=ROOT/d"),
)
waited_for("--config, train", "c.py", (), 2, "train.py", "--config=ROOT/c.py")


def plans(name: str, content: str, says: str) -> None:
    """Registers a file of plans of another shape."""

    @case(f"foreign plans: {name}, plan.scaling", 2, says)
    def run(root):
        (root / "plans.txt").write_text(content)
        words = named("quickstart.py:smoke"), f"--plans={root}/plans.txt"
        yield command("encnet_jax.plan.scaling", *words)


plans("nested", "{" * 100_000, "not a complete JSON file")
plans("other members", '{"bytes_per_image": 1}', "topology is missing")
plans(
    "texts for numbers",
    '{"bytes_per_image": "1", "topology": "v5e:2x4", "images_per_chip": 1,'
    ' "flops_per_image": 1}',
    "bytes_per_image is '1'",
)
