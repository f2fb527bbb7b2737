"""Numbers of the configuration that mean nothing."""

from fixtures import command, flags, folder_set, named
from registry import case

NUMBERS = """train.epochs=nan train.epochs=inf train.epochs=1e9 train.epochs=-3
train.eval_every_epochs=nan train.num_pictures=-1 seed=-1 model.num_codes=-1
model.head_channels=0 train.max_minutes=-1 eval.max_images=-1 model.dropout=1.5
optim.momentum=5.0 data.crop_size=1 data.input_scale=0.001 optim.base_lr=nan
data.augment.scale_min=3.0 data.augment.scale_max=0.0 data.max_megapixels=inf"""

for number in NUMBERS.split():
    field = number.partition("=")[0]

    @case(f"14 {number}, train", 2, field)
    def wrong_number(root, number=number):
        config = named("quickstart.py:smoke")
        steps = "--config.train.total_steps=0"
        yield command(
            "train.py", config, steps, f"--config.{number}", f"--workdir={root}/w"
        )
        assert not (root / "w").exists()


@case("14 --count -1, export_images", 2, "count")
def negative_count(root):
    folder_set(root / "r")
    where = f"--output={root}/o"
    yield command(
        "encnet_jax.data.export_images", *flags(root / "r"), "--count=-1", where
    )


FLAGS = {
    "predict.py": (f"--top={10**30}", "--whole_px=-1", "--max_megapixels=nan"),
    "train.py": ("--peers_timeout_s=nan", "--peers_timeout_s=inf"),
    "encnet_jax.data.export_arrays": ("--input_scale=nan", "--input_scale=1e400"),
    "encnet_jax.export": ("--size=64x" + "9" * 5000, "--size=0x64"),
}
for name, given in FLAGS.items():
    for flag in given:

        @case(f"14 {flag[:30]}, {name}", 2, flag.partition("=")[0][2:], "run")
        def wrong_flag(root, name=name, flag=flag):
            words = {
                "predict.py": (f"--workdir={root}/run", f"--input={root}/r/val/images"),
                "train.py": (named("quickstart.py:smoke"),),
                "encnet_jax.export": (
                    *(f"--workdir={root}/run", "--format=stablehlo"),
                    f"--output={root}/p.bin",
                ),
            }
            yield command(name, *words.get(name, ("camvid",)), flag)
