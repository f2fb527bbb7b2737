"""python -m encnet_jax.torch_weights import|export: weight files in and out."""

import sys
from collections.abc import Sequence

from absl import flags

from encnet_jax import cli
from encnet_jax import config as config_lib
from encnet_jax.checkpoints import read
from encnet_jax.errors import UserError
from encnet_jax.torch_weights import families, files, state_dicts

_PROGRAM = "-m encnet_jax.torch_weights"
_USAGE = f"""usage:
  python {_PROGRAM} import --source FILE --config FILE.py[:words] --workdir DIR
  python {_PROGRAM} export --workdir DIR --output FILE [--family NAME]
--help after either tells more."""


def main(argv: Sequence[str]) -> int:
    """Runs the command that the first argument names."""
    commands = {"import": import_weights, "export": export_weights}
    command = argv[1] if len(argv) > 1 else "--help"
    if command in ("--help", "-h"):
        print(_USAGE)
        return 0
    if command not in commands:
        raise UserError(f"unknown command {command!r}, wanted import or export")
    commands[command]([f"{_PROGRAM} {command}", *argv[2:]])
    return 0


def import_weights(argv: Sequence[str]) -> None:
    """Writes a checkpoint, which eval.py and predict.py take, from a weight file.

    python -m encnet_jax.torch_weights import --config configs/ade20k.py:release \\
        --source encnet_resnet50s_ade-07ac287c.zip --workdir runs/authors
    """

    def define(values):
        cli.define_config(values, argv)
        _string(
            values, "source", "A .safetensors, a .pth, a zip of a .pth, or a .params."
        )
        _string(values, "workdir", "Where the checkpoint goes.")

    values = cli.parse(
        argv,
        define,
        about=import_weights.__doc__,
        required=("source", "config", "workdir"),
    )
    # TensorFlow may be missing where only weights are converted.
    from encnet_jax.data import dataset_info

    config = config_lib.resolve(values.config)
    state_dict = state_dicts.unwrap(files.read_state_dict(values.source))
    family = families.recognise(state_dict)
    print(f"{values.source}: weights of {family.title}")
    if family.task != config.task:
        raise UserError(
            f"task is {config.task!r}, and these weights are for {family.task}: wanted"
            " another configuration"
        )
    num_classes = dataset_info(config.data).num_classes
    variables = state_dicts.convert(state_dict, config.model, num_classes)
    if family.task == "segmentation" and "head" not in variables["params"]:
        raise UserError(
            f"{values.source} holds a backbone alone, which scores nothing: train from"
            f" it with train.py --config.init_from={values.source}"
        )
    shapes = {name: x.shape for name, x in state_dict.items()}
    for difference in families.differences(shapes, family, config.model):
        print(f"warning: {difference}; scores will suffer")
    read.save_variables(values.workdir, variables, config)
    print(
        f"wrote {values.workdir}; score it: python eval.py --workdir {values.workdir}"
    )


def export_weights(argv: Sequence[str]) -> None:
    """Writes a weight file that PyTorch's load_state_dict takes, from a checkpoint.

    python -m encnet_jax.torch_weights export --workdir runs/ade20k --output encnet.pth
    """

    def define(values):
        _string(values, "workdir", "The run whose weights to write.")
        _string(values, "checkpoint", "A step, or 'best'. Default: the newest.")
        _string(values, "output", "A .safetensors or a .pth that does not exist yet.")
        known = ", ".join(f.name for f in families.FAMILIES)
        _string(values, "family", f"Whose names: {known}. Default: the model's.")

    values = cli.parse(
        argv, define, about=export_weights.__doc__, required=("workdir", "output")
    )
    step = values.checkpoint
    if step is not None and step != "best":
        if not step.isdigit():
            raise UserError(f"--checkpoint is {step!r}, wanted a step or 'best'")
        step = int(step)
    variables, config = read.restore_variables(values.workdir, step)
    family = families.find(values.family or _default_family(config))
    is_backbone = config.model.name == "backbone"
    if is_backbone and family.parts != ("backbone",):
        raise UserError(
            f"{values.workdir} holds a backbone with a linear classifier, not"
            f" {family.title}: leave --family out"
        )
    state_dict = state_dicts.to_state_dict(variables, config.model, family)
    if is_backbone:
        state_dict |= state_dicts.linear_classifier(variables["params"]["classifier"])
    recognised = families.recognise(state_dict)
    if recognised != family:
        raise UserError(
            f"this run's network is not {family.title} but {recognised.title}: use"
            f" --family {recognised.name}"
        )
    files.write_state_dict(values.output, state_dict)
    print(f"wrote {values.output}: weights of {family.title}, {len(state_dict)} arrays")


def _default_family(config) -> str:
    """Returns the family that names a model's modules in full."""
    if config.task == "segmentation":
        return "mmseg" if config.architecture == "mmseg" else "authors"
    if config.model.name != "backbone":
        return "authors_cifar"
    if config.model.stem == "conv7":
        return "torchvision"
    return "resnet_d" if config.model.avg_down else "deep_stem"


def _string(values: flags.FlagValues, name: str, text: str) -> None:
    flags.DEFINE_string(name, None, text, flag_values=values)


if __name__ == "__main__":
    sys.exit(cli.run(main, sys.argv))
