"""Wrong environment variables, little memory, sweeps of odd values."""

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
}
for variable, says in VARIABLES.items():

    @case(f"odd {variable}, eval", 2, says, "run")
    def jax_variable(root, variable=variable):
        yield ["env", variable, *command("eval.py", f"--workdir={root}/run")]


def sweep(name: str, says: str, *words: str) -> None:
    """Registers a sweep that is refused before its first run."""

    @case(f"odd sweep {name}", 2, says)
    def run(root):
        first = named("quickstart.py:smoke"), "--field=optim.base_lr"
        yield command("encnet_jax.sweep", *first, *words, f"--workdir={root}/w")
        assert not (root / "w").exists() or not list((root / "w").iterdir())


sweep("--seeds=0,00", "different whole numbers", "--values=0.1", "--seeds=0,00")
sweep("--seeds=²", "different whole numbers", "--values=0.1", "--seeds=²")
sweep("a wrong later value", "optim.base_lr", "--values=0.1,fast")
sweep("a later value out of range", "optim.base_lr", "--values=0.1,-1")
