"""Trainings that would learn nothing: batch norms of one value, a single class."""

from fixtures import CHECK, command, flags, folder_set
from registry import case


def trained(root, *more: str) -> list[str]:
    folder_set(root / "r")
    words = flags(root / "r", *more)
    return command("train.py", *words, f"--workdir={root}/w")


ONE_IMAGE = {
    "batch 1": ("--config.train.batch_size=1",),
    "accumulate to 1": ("--config.train.accumulate=4",),
}
for head in ("pspnet", "deeplabv3"):
    for name, more in ONE_IMAGE.items():

        @case(f"nothing {head} with {name}, train", 2, "gets only one value")
        def one_image(root, head=head, more=more):
            yield trained(root, f"--config.model.name={head}", *more)
            assert not (root / "w").exists()


@case("nothing eight devices with an image each, train", 2, "model.norm_group to 0")
def one_per_device(root):
    more = "--config.train.batch_size=8", "--config.model.norm_group=1"
    devices = "XLA_FLAGS=--xla_force_host_platform_device_count=8"
    yield ["env", devices, *trained(root, "--config.model.name=pspnet", *more)]


@case("held EncNet with batch 1, train", 0, "trained 4 steps")
def encnet(root):
    yield trained(root, "--config.train.batch_size=1")


NAMES = "--config.data.folder.class_names=('crack',)"
IGNORED = "--config.data.folder.ignore_ids=(1,255)"


@case("nothing a single class, check", 1, "the only class is 'crack'")
def one_class(root):
    folder_set(root / "r")
    yield command(CHECK, *flags(root / "r", NAMES, IGNORED))


@case("nothing a single class, train", 2, "the only class is 'crack'")
def one_class_trained(root):
    yield trained(root, NAMES, IGNORED)
    assert not (root / "w").exists()
