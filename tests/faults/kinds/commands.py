"""compare, curves, sweep, plan, export and the others with wrong files."""

from fixtures import command, flags, named
from registry import case

REPORT = "encnet_jax.report"


def refused(name: str, says: str, *words: str) -> None:
    """Registers a command; ROOT in its words is the folder of the case."""

    @case(f"new {name}", 2, says, "run")
    def run(root):
        yield command(*(word.replace("ROOT", str(root)) for word in words))


PNG = "--output=ROOT/x.png"
refused("no run, report compare", "nowhere", REPORT, "compare", "ROOT/nowhere", PNG)
refused("no run, report curves", "nowhere", REPORT, "curves", "ROOT/nowhere", PNG)
refused("no run, report html", "nowhere", REPORT, "html", "ROOT/nowhere")
refused(
    "a file for a run, report compare",
    "",
    REPORT,
    "compare",
    "ROOT/r/train/images/0.jpg",
    PNG,
)
refused("a run without scalars, report curves", "", REPORT, "curves", "ROOT/run", PNG)
refused("no such report", "unknown command", REPORT, "nothing")

SMOKE = named("quickstart.py:smoke")
SWEEP = "encnet_jax.sweep", SMOKE, "--workdir=ROOT/w"
refused(
    "unknown field, sweep", "loss.nothing", *SWEEP, "--field=loss.nothing", "--values=1"
)
refused(
    "a wrong value, sweep",
    "loss.se_weight",
    *SWEEP,
    "--field=loss.se_weight",
    "--values=-1",
)
refused("no value, sweep", "values", *SWEEP, "--field=loss.se_weight", "--values=")
refused(
    "a seed that is none, sweep",
    "seed",
    *SWEEP,
    "--field=loss.se_weight",
    "--values=1",
    "--seeds=a",
)

PLAN = "encnet_jax.plan", SMOKE
refused("unknown topology, plan", "v99:2x2", *PLAN, "--topology=v99:2x2")
refused("a topology without chips, plan", "error: ", *PLAN, "--topology=v5e:0x0")
refused(
    "no configuration, plan",
    "no configuration",
    "encnet_jax.plan",
    "--config=nowhere.py",
    "--topology=v5e:2x4",
)

refused(
    "a text for a configuration, train",
    "0.jpg",
    "train.py",
    "--config=ROOT/r/train/images/0.jpg",
    "--workdir=ROOT/w",
)
refused("unknown flag, train", "nosuch", "train.py", SMOKE, "--nosuch=1")
refused(
    "a folder for an image, predict",
    "no images",
    "predict.py",
    "--workdir=ROOT/run",
    "--input=ROOT/run/checkpoints",
    "--output=ROOT/o",
)


def damaged_report(name: str, content: str, *words: str) -> None:
    """Registers a command on a run whose report.json is damaged."""

    @case(f"new {name}", 2, "report.json", "run")
    def run(root):
        for file in ("report.json", "report-val-single.json"):
            (root / "run" / file).write_text(content)
        yield command(*(word.replace("ROOT", str(root)) for word in words))


HTML = REPORT, "html", "ROOT/run", "--output=ROOT/x.html"
damaged_report("report.json is cut, report html", '{"split":', *HTML)
damaged_report("report.json is a list, report html", "[]", *HTML)


@case("new events cut short, report curves", (0, 2), "", "run")
def cut_events(root):
    words = flags(root / "r")
    import shlex

    train = shlex.join(command("train.py", *words, f"--workdir={root}/w"))
    curves = shlex.join(
        command(REPORT, "curves", f"{root}/w", f"--output={root}/x.png")
    )
    cut = f"for f in {root}/w/events*; do truncate -s -7 $f; done"
    yield ["bash", "-c", f"{train} >/dev/null 2>&1 && {cut} && {curves}"]
