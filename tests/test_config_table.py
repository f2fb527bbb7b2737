"""The table of fields: checks, explanations, the reference and the known names."""

import math
import pathlib
import subprocess
import sys

import pytest

from encnet_jax import cli
from encnet_jax import config as config_lib
from encnet_jax.config import __main__ as config_command
from encnet_jax.config import (
    checks,
    defaults,
    explain,
    table,
)
from encnet_jax.errors import UserError

DEFAULTS = config_lib.flatten(config_lib.resolve(defaults.get_config()))
NUMBERS = sorted(
    field
    for field, value in DEFAULTS.items()
    if isinstance(value, (int, float)) and not isinstance(value, bool)
) + ["train.eval_every_epochs"]  # Its default depends on the data.


def check(values):
    checks.check_each(values)
    checks.check_together(values)


def test_every_field_has_a_default_and_a_meaning():
    fields = table.fields()
    assert set(fields) == set(DEFAULTS) and len(fields) > 140 and len(NUMBERS) > 40
    assert fields["optim.base_lr"].default == 0.01
    assert fields["model.stem_width"].default is None
    assert fields["model.stem_width"].kind is int
    assert fields["eval.scales"].kind is tuple
    for name, field in fields.items():
        assert field.doc[0] in "'(" or field.doc[0].isupper(), name
        assert field.doc.endswith(".") and "wanted" not in field.doc, name


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, -0.5, True])
def test_values_that_are_not_numbers_are_refused(value):
    for field in NUMBERS:
        with pytest.raises(UserError, match=f"^{field} is {value!r}; expected "):
            check({**DEFAULTS, field: value})


@pytest.mark.parametrize("value", [3.5, object()])
def test_no_other_field_takes_a_number_or_an_object(value):
    for field in set(DEFAULTS) - set(NUMBERS):
        with pytest.raises(UserError, match=f"^{field} is "):
            check({**DEFAULTS, field: value})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"data.augment.scale_min": 3.0},
            "scale_min is 3.0; expected at most data.aug",
        ),
        ({"data.augment.scale_min": 0.0, "data.augment.scale_max": 0.0}, "scale_min"),
        ({"data.value_range": (5, 5)}, "data.value_range is"),
        ({"data.value_range": (0, math.inf)}, "data.value_range is"),
        ({"data.input_scale": 0.001}, "data.input_scale is 0.001; expected 0.02 to 50"),
        ({"data.crop_size": 1}, "data.crop_size is 1; expected 16 to 32768"),
        (
            {"model.dropout": 1.5},
            "model.dropout is 1.5; expected 0 or more, less than 1",
        ),
        ({"optim.momentum": 5.0}, "optim.momentum is 5.0"),
        ({"model.head_channels": 0}, "model.head_channels is 0; expected 1 to 16384"),
        (
            {"train.epochs": 1e9},
            "train.epochs is 1000000000.0; expected more than 0, at",
        ),
        ({"data.folder.ignore_ids": (256,)}, "ignore_ids is \\(256,\\); expected mask"),
        ({"data.data_dir": "a\nb"}, "data.data_dir is 'a"),
    ],
)
def test_values_out_of_range_and_contradictions(fields, message):
    with pytest.raises(UserError, match=message):
        check(DEFAULTS | fields)


def test_more_steps_than_an_int32_counts_are_refused():
    config = defaults.get_config()
    config.train.epochs = 9e6
    with pytest.raises(UserError, match=r"\(9000000000 steps\); expected at most"):
        config_lib.resolve(config, config_lib.Facts(16_000))


@pytest.mark.parametrize(
    ("module", "flags"),
    [
        ("train", ["--help"]),
        ("train", ["--config", "configs/camvid.py", "--config.optim.base_lrr=1"]),
        ("train", ["--config", "configs/camvid.py", "--config.optim.base_lr=x"]),
        ("train", ["--config", "configs/camvid.py:wat"]),
        ("encnet_jax.config.__main__", ["--explain", "optim.base_lr"]),
        ("encnet_jax.config.__main__", ["configs/camvid.py", "--config.model.gate=x"]),
    ],
)
def test_help_and_mistakes_in_flags_load_no_jax(module, flags):
    code = (
        f"import sys\nfrom {module} import main\n"
        f"try: main(['a.py', *{flags!r}])\n"
        "except BaseException as error: print(type(error).__name__)\n"
        "print({'jax', 'flax', 'tensorflow'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.endswith("set()\n")
    if "--help" not in flags and "--explain" not in flags:
        assert run.stdout == "UserError\nset()\n"


def test_differences_from_the_defaults_are_listed():
    config = config_lib.resolve(config_lib.load("configs/pascal_voc.py:resnet101"))
    assert config_lib.differences(config) == [
        "data.name = 'pascal_voc' (default: 'ade20k')",
        "data.train_split = 'train_aug' (default: 'train')",
        "init_from = 'mmseg:resnet101_v1c' (default: '')",
        "model.backbone = 'resnet101' (default: 'resnet50')",
        "model.stem_width = 32 (default: 64)",
        "optim.base_lr = 0.001 (default: 0.01)",
        "train.epochs = 50.0 (default: 120.0)",
        "train.val_protocol = 'centre_crop' (default: 'single')",
    ]


def test_the_command_prints_every_field_and_marks_the_others(capsys):
    argv = ["config", "configs/pascal_voc.py:release", "--config.seed=7"]
    assert cli.run(config_command.main, argv) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(DEFAULTS)
    assert "* seed = 7  (default: 0)" in lines
    assert "* model.lateral = True  (default: False)" in lines
    assert "  model.stem = 'deep'" in lines
    assert cli.run(config_command.main, ["config", "--config.seed=7"]) == 2


def test_a_changed_number_of_images_is_reported():
    old = config_lib.resolve(
        config_lib.load("configs/camvid.py"), config_lib.Facts(367)
    )
    new = config_lib.resolve(
        config_lib.load("configs/camvid.py"), config_lib.Facts(480)
    )
    assert old.train.epochs == new.train.epochs
    assert config_lib.first_difference(old, new).endswith(
        "images were added or removed"
    )


def run_command(capsys, *flags):
    status = cli.run(config_command.main, ["config", *flags])
    return status, *capsys.readouterr()


def test_explain_prints_default_allowed_values_and_meaning(capsys):
    status, out, _ = run_command(capsys, "--explain", "optim.base_lr")
    assert status == 0
    assert out.splitlines() == [
        "optim.base_lr (float)",
        "  default: 0.01",
        "  allowed: more than 0, at most 1e+20",
        "  Initial learning rate, after the warm-up.",
    ]


def test_explain_states_what_sets_a_field_without_a_default():
    assert "  default: 64; mmseg: 32\n" in explain.explain("model.stem_width")
    assert "  default: data.crop_size\n" in explain.explain("eval.crop_size")
    assert "  default: computed\n" in explain.explain("model.reference_positions")


def test_explain_lists_the_fields_of_a_section(capsys):
    _, out, _ = run_command(capsys, "--explain=model.duc")
    lines = out.splitlines()
    assert lines[0] == "model.duc: Fields that only the head 'duc' reads."
    assert lines[1].startswith(
        "  model.duc.cell = 2: Distance between neighbouring logits"
    )
    assert len(lines) == 3
    assert len(explain.explain("loss").splitlines()) == 15


@pytest.mark.parametrize(
    ("name", "similar"),
    [
        ("optim.base_lrr", "optim.base_lr"),
        ("optim.lr", "optim.base_lr"),
        ("poly_powr", "optim.poly_power"),
        ("optm", "optim"),
        ("zzz", None),
    ],
)
def test_an_unknown_field_gets_one_line_with_a_similar_one(capsys, name, similar):
    status, out, err = run_command(capsys, "--explain", name)
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert err.startswith(f"error: no field {name!r} in the configuration; ")
    ending = f"did you mean {similar!r}?" if similar else "such as optim.base_lr"
    assert err.strip().endswith(ending)


def test_the_field_reference_is_what_the_command_prints(capsys):
    status, out, _ = run_command(capsys, "--reference")
    assert status == 0 and out.count("| `") == len(DEFAULTS)
    message = "run `python -m encnet_jax.config --reference > docs/fields.md`"
    assert pathlib.Path("docs/fields.md").read_text() == out, message


def test_a_field_that_is_not_in_the_table_is_refused():
    config = defaults.get_config()
    config.optim.base_lrr = 1.0
    with pytest.raises(UserError, match="no field 'optim.base_lrr' in the conf"):
        config_lib.resolve(config)
