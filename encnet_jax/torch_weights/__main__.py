"""The command `encnet weights`: lists, downloads, imports and exports weights."""

from collections.abc import Sequence

from encnet_jax import cli
from encnet_jax import config as config_lib
from encnet_jax.checkpoints import read
from encnet_jax.cli import Command
from encnet_jax.errors import UserError
from encnet_jax.pods import workdir
from encnet_jax.torch_weights import families, files, state_dicts
from encnet_jax.torch_weights.published import network_config
from encnet_jax.weights import PUBLISHED, Published, cache

_HERE = "encnet_jax.torch_weights.__main__"
COMMANDS = {
    "list": Command(_HERE, "lists published weights", "list_weights"),
    "download": Command(_HERE, "downloads published weights to the cache", "download"),
    "import": Command(_HERE, "converts weights to a checkpoint", "import_weights"),
    "export": Command(_HERE, "converts a checkpoint to weights", "export_weights"),
}


def main(argv: Sequence[str]) -> int | None:
    """Runs the command given by the first argument."""
    return cli.choose(argv, COMMANDS)


def list_weights(argv: Sequence[str]) -> None:
    """Lists all published weights, or describes the weights with the given names.

    python -m encnet_jax.torch_weights list
    python -m encnet_jax.torch_weights list torchvision:resnet50
    """

    line = cli.CommandLine(argv, list_weights.__doc__)
    line.argument(
        "name", "Names of weights to describe; default: list all.", True, default=[]
    )
    values = line.parse()
    for name in values.name:
        print(_described(cache.find(name)))
    if values.name:
        return
    entries = [PUBLISHED.get(name) for name in PUBLISHED]
    for entry in sorted(entries, key=lambda entry: entry.gone):
        size = "" if entry.size_mib is None else f"{entry.size_mib:.0f} MiB"
        state = "cached" if cache.cached(entry) else "gone" if entry.gone else ""
        print(f"{entry.name:40} {size:>8} {state:6}  {entry.score}")
    print(f"cache: {cache.folder()} ($ENCNET_CACHE chooses another folder)")


def _described(entry: Published) -> str:
    """Returns a description of published weights, with one property per line."""
    facts = {
        "address": entry.address + _state(entry),
        "size": entry.size,
        "digest": entry.digest or "not published",
        "family": families.find(entry.family).title,
        "fields": ", ".join(f"{name}={x}" for name, x in entry.fields.items()),
        "data set": entry.dataset or "ImageNet (a backbone)",
        "licence": entry.licence,
        "score": entry.score,
        "source": entry.source,
        "cached": str(cache.cached(entry) or f"no; would be {cache.path_of(entry)}"),
    }
    lines = [entry.name, *(f"  {name}: {value}" for name, value in facts.items())]
    return "\n".join(lines)


def _state(entry: Published) -> str:
    """Returns a note if a weight file's address may not work, and otherwise ''."""
    if entry.gone:
        return " (reported as unavailable)"
    return "" if entry.checked else " (not checked)"


def download(argv: Sequence[str]) -> None:
    """Downloads published weights to the cache and prints the files' paths.

    python -m encnet_jax.torch_weights download torchvision:resnet50
    """

    line = cli.CommandLine(argv, download.__doc__)
    line.argument("name", "Names that `weights list` prints.", several=True)
    for name in line.parse().name:
        print(cache.fetch(name))


def import_weights(argv: Sequence[str]) -> None:
    """Converts published or local weights to a checkpoint for eval.py and predict.py.

    python -m encnet_jax.torch_weights import --source mmseg:encnet_r50_ade20k \\
        --workdir runs/mmseg
    python -m encnet_jax.torch_weights import --config configs/ade20k.py:release \\
        --source encnet_resnet50s_ade-07ac287c.zip --workdir runs/authors
    """

    line = cli.CommandLine(argv, import_weights.__doc__)
    sources = "A name that `weights list` prints, or a file: .safetensors, .pth,"
    sources += " .params, or a zip with a .pth file."
    line.string("source", sources, required=True)
    line.config()
    line.string("workdir", "Folder for the checkpoint.", required=True)
    values = line.parse()
    # Imported here, because the other commands need no data set.
    from encnet_jax.data import dataset_info

    config = config_lib.resolve(_configuration(values.source, values.config))
    state_dict = state_dicts.read(values.source)
    family = families.recognise(state_dict)
    print(f"{values.source}: weights of {family.title}")
    if family.task != config.task:
        raise UserError(
            f"task is {config.task!r}, but these weights are for {family.task}: choose"
            f" a configuration whose task is {family.task!r}"
        )
    num_classes = dataset_info(config.data).num_classes
    variables = state_dicts.convert(state_dict, config.model, num_classes)
    if family.task == "segmentation" and "head" not in variables["params"]:
        raise UserError(
            f"{values.source} is a backbone without a classifier: initialise"
            f" a training run with train.py --config.init_from={values.source}"
        )
    shapes = {name: x.shape for name, x in state_dict.items()}
    for difference in families.differences(shapes, family, config.model):
        print(f"warning: {difference}; expect lower scores")
    with workdir.locked(values.workdir):
        read.save_variables(values.workdir, variables, config)
    print(
        f"wrote {values.workdir}; score it: python eval.py --workdir {values.workdir}"
    )


def _configuration(source: str, given):
    """Returns the configuration for the imported weights.

    Args:
        source: value of --source.
        given: configuration from --config; None for the default configuration of the
            published weights.

    Raises:
        UserError: --config is missing, and --source is a file or the name of a
            backbone without a head.
    """
    if given is not None:
        config = given.copy_and_resolve_references()
        config.init_from = source if cache.is_name(source) else ""
        if config.init_from:
            config = config_lib.resolve(config)  # Sets fields that the weights require.
            config = config_lib.replaced(config, {"init_from": ""})
        return config
    if not cache.is_name(source):
        raise UserError(
            f"--config is missing, and {source} is not a name that `weights list`"
            " prints: add --config with the configuration of the network"
        )
    return network_config(cache.find(source))


def export_weights(argv: Sequence[str]) -> None:
    """Converts a checkpoint to a weight file for PyTorch's load_state_dict.

    python -m encnet_jax.torch_weights export --workdir runs/ade20k --output encnet.pth
    """

    line = cli.CommandLine(argv, export_weights.__doc__)
    line.string("workdir", "Folder of the run to export.", required=True)
    line.checkpoint("newest")
    line.string("output", "New file, .safetensors or .pth.", required=True)
    known = ", ".join(f.name for f in families.known())
    line.string("family", f"Naming scheme: {known}. Default: depends on the model.")
    values = line.parse()
    step = read.parse_step(values.checkpoint)
    variables, config = read.restore_variables(values.workdir, step)
    family = families.find(
        values.family or _default_family(config.task, config.architecture, config.model)
    )
    is_backbone = config.model.name == "backbone"
    if is_backbone and family.parts != ("backbone",):
        raise UserError(
            f"{values.workdir} contains a backbone with a linear classifier, not"
            f" {family.title}: omit --family"
        )
    state_dict = state_dicts.to_state_dict(variables, config.model, family)
    if is_backbone:
        state_dict |= state_dicts.linear_classifier(variables["params"]["classifier"])
    recognised = families.recognise(state_dict)
    if recognised.name != family.name:
        raise UserError(
            f"the network in {values.workdir} is not {family.title}, but"
            f" {recognised.title}: use --family {recognised.name}"
        )
    files.write_state_dict(values.output, state_dict)
    print(f"wrote {values.output}: weights of {family.title}, {len(state_dict)} arrays")


def _default_family(task: str, architecture: str, model) -> str:
    """Returns the name of a model's default family (naming scheme of weight files)."""
    if task == "segmentation":
        return "mmseg" if architecture == "mmseg" else "authors"
    if model.name != "backbone":
        return "authors_cifar"
    if model.stem == "conv7":
        return "torchvision"
    return "resnet_d" if model.avg_down else "deep_stem"


if __name__ == "__main__":
    cli.start(main)
