"""Something was left out, and the exit status was 0."""

import os

from fixtures import command, noise, program
from registry import case

NO_MEMORY = """
from encnet_jax import cli
from encnet_jax.commands import predict
from encnet_jax.inference.model import Model

read = Model.read

def failing(self, image, *rest):
    if str(image).endswith("2.jpg"):
        raise MemoryError
    return read(self, image, *rest)

Model.read = failing
cli.start(predict.main)
"""


def predicted(root) -> list[str]:
    (root / "p").mkdir()
    for i in range(5):
        noise().save(root / f"p/{i}.jpg")
    return [f"--workdir={root}/run", f"--input={root}/p", f"--output={root}/o"]


@case("omitted no memory for one image, predict", 1, "labelled 4 of 5", "run")
def no_memory(root):
    yield program(root, NO_MEMORY, *predicted(root))
    assert len(list((root / "o").glob("*_ids.png"))) == 4


@case("omitted a file of 20 GB, predict", 1, "2.png", "run")
def large_file(root):
    words = predicted(root)
    (root / "p/2.jpg").unlink()
    (root / "p/2.png").touch()
    os.truncate(root / "p/2.png", 20 << 30)
    limited = ["bash", "-c", 'ulimit -v 8000000; exec "$@"', "_"]
    yield [*limited, *command("predict.py", *words)]
    assert len(list((root / "o").glob("*_ids.png"))) == 4


@case("omitted links to itself, predict --recursive", 0, "labelled 6 of 6", "run")
def links(root):
    words = predicted(root)
    for i in range(3):
        (root / f"p/link{i}").symlink_to(".")
    (root / "p/b~").mkdir()  # Libraries take such names for backups.
    noise().save(root / "p/b~/1.jpg")
    yield command("predict.py", *words, "--recursive")
    assert (root / "o/b~/1_ids.png").exists()


@case("omitted a FIFO among the images, predict", 1, "FIFO", "run")
def fifo(root):
    words = predicted(root)
    os.mkfifo(root / "p/9.png")
    yield command("predict.py", *words)
    assert len(list((root / "o").glob("*_ids.png"))) == 5
