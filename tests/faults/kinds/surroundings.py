"""Wrong environment variables, little memory, sweeps of odd values."""

import os

from fixtures import command, named
from registry import case

REPORT = "encnet_jax.report"


@case("odd MPLBACKEND, report gridding", 0, "gridding: ")
def backend(root):
    words = command(REPORT, "gridding", f"--output={root}/x.png")
    yield ["env", "MPLBACKEND=nosuch", *words]


VARIABLES = {
    "JAX_ENABLE_X64=maybe": "JAX_ENABLE_X64",
    "JAX_DEFAULT_MATMUL_PRECISION=x": "JAX_DEFAULT_MATMUL_PRECISION",
    "JAX_TRACEBACK_FILTERING=x": "JAX_TRACEBACK_FILTERING",
    "JAX_PLATFORMS=cpuu": "JAX finds no",
    "XLA_FLAGS=--nosuch=1": "Unknown flag in XLA_FLAGS: --nosuch=1",
    "XLA_FLAGS=--xla_cpu_enable_fast_math=maybe": "interpret value maybe",
    "XLA_FLAGS=words": 'Could not open file "words"',
    "OMPI_MCA_orte_hnp_uri=x": "OMPI_MCA_orte_hnp_uri",
    "JAX_COORDINATOR_ADDRESS=x": "JAX_COORDINATOR_ADDRESS",
}
for variable, says in VARIABLES.items():

    @case(f"odd {variable}, eval", 2, says, "run")
    def jax_variable(root, variable=variable):
        yield ["env", variable, *command("eval.py", f"--workdir={root}/run")]


for name in ("predict.py", "train.py"):

    @case(f"odd address space of 800 MB, {name}", 2, "ulimit -v unlimited", "run")
    def little_space(root, name=name):
        words = {
            "predict.py": (f"--workdir={root}/run", f"--input={root}/r/val/images"),
            "train.py": (named("quickstart.py:smoke"), f"--workdir={root}/w"),
        }
        limited = ["bash", "-c", 'ulimit -v 800000; exec "$@"', "_"]
        yield [*limited, *command(name, *words[name])]


def sweep(name: str, says: str, *words: str) -> None:
    """Registers a sweep that is refused before its first run."""

    @case(f"odd sweep {name}", 2, says)
    def run(root):
        first = named("quickstart.py:smoke"), "--field=optim.base_lr"
        yield command("encnet_jax.sweep", *first, *words, f"--workdir={root}/w")
        assert not (root / "w").exists() or not list((root / "w").iterdir())


sweep("--seeds=0,00", "distinct whole numbers", "--values=0.1", "--seeds=0,00")
sweep("--seeds=²", "distinct whole numbers", "--values=0.1", "--seeds=²")
sweep("a wrong later value", "optim.base_lr", "--values=0.1,fast")
sweep("a later value out of range", "optim.base_lr", "--values=0.1,-1")
sweep("--protocol that does not exist", "--protocol is", "--values=1", "--protocol=x")
sweep("no split to score", "is evaluated", "--values=1", "--config.data.val_split=")
sweep("a value of 120 bytes", "part of a folder name", f"--values={'é' * 60}")
sweep("minus 9,000 times", "part of a folder name", f"--values={'-' * 9000}1")

CODE = {
    "1 / 0": "ZeroDivisionError",
    "get_config(words)": "RecursionError",
    "exit(0)": "SystemExit",
    "None": "get_config returned a NoneType",
    "{'seed': 1}": "get_config returned a dict",
}
for code, says in CODE.items():

    @case(f"odd configuration that returns {code}, train", 2, says)
    def configuration(root, code=code):
        (root / "c.py").write_text(f"def get_config(words=''):\n  return {code}\n")
        yield command("train.py", f"--config={root}/c.py", f"--workdir={root}/w")
        assert not (root / "w").exists()


@case("odd files among the configurations, config", 0, "optim.base_lr")
def configurations(root):
    (root / "configs/folder.py").mkdir(parents=True)
    os.mkfifo(root / "configs/fifo.py")
    yield command("encnet_jax.config", "quickstart")


@case("odd files among the configurations, config --copy", 0, "wrote mine.py")
def copied(root):
    (root / "mine.py").symlink_to(root / "nowhere")
    yield command("encnet_jax.config", "--copy", "quickstart", "mine.py")
    assert not (root / "nowhere").exists()


@case("odd ~ in --workdir, train", 0, "trained 4 steps")
def tilde(root):
    words = named("quickstart.py:smoke"), "--workdir=~/w"
    yield ["env", f"HOME={root}", *command("train.py", *words)]
    assert (root / "w/checkpoints/4/sha256.json").exists() and not (root / "~").exists()
