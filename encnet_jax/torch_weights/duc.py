"""Parameter names in the weight files of DUC-HDC's authors (MXNet)."""

from functools import partial

from encnet_jax.errors import UserError
from encnet_jax.models.backbones.resnet import specs
from encnet_jax.torch_weights.names import Family, Rule, register
from encnet_jax.torch_weights.resnet import named_backbone, num_in_row

_STEM = ("conv1_1_3x3_s2", "conv1_2_3x3", "conv1_3_3x3")
_BLOCK = {
    "{}1": "1x1_reduce",
    "{}2": "3x3",
    "{}3": "1x1_increase",
    "shortcut_{}": "1x1_proj",
}
_HEAD = "fc1_cityscapes_c"
_OF_NORM = {
    "weight": "arg:{}_gamma",
    "bias": "arg:{}_beta",
    "running_mean": "aux:{}_moving_mean",
    "running_var": "aux:{}_moving_var",
}


def _join(module: str, leaf: str) -> str:
    if module.endswith("/bn"):
        return _OF_NORM[leaf].format(module)
    return f"arg:{module}_{leaf}"


def _unit(conv: str, norm: str, name: str) -> list[Rule]:
    return [Rule(conv, name), Rule(norm, name + "/bn")]


def _rules(model_config) -> list[Rule]:
    m = model_config
    spec = specs().get(m.backbone)
    if not spec or not spec.bottleneck or m.stem != "deep" or m.avg_down:
        raise UserError(
            f"the configuration has model.backbone={m.backbone!r},"
            f" model.stem={m.stem!r} and model.avg_down={m.avg_down}; expected a ResNet"
            " with bottleneck blocks, model.stem='deep' and model.avg_down=False for"
            " DUC-HDC weights: change these fields"
        )
    found = []
    for i, name in enumerate(_STEM, 1):
        layer = f"backbone/stem/layer{i}"
        found += _unit(f"{layer}/conv", f"{layer}/norm", name)
    for stage in range(1, 5):
        block = rf"backbone/stage{stage}_block0*(?P<number>\d+)/"
        for ours, theirs in _BLOCK.items():
            name = f"conv{stage + 1}_{{number}}_{theirs}"
            found += _unit(
                block + ours.format("conv"), block + ours.format("norm"), name
            )
    for i, rate in enumerate(m.duc.rates):
        found.append(Rule(f"head/rate{rate}", f"{_HEAD}{i}"))
    return found


def _block(stage: int, block: int) -> str:
    return f"arg:conv{stage}_{block + 1}_3x3_weight"


def _fields(shapes: dict[str, tuple[int, ...]], prefix: str) -> dict[str, object]:
    found: dict[str, object] = {"stem": "deep", "avg_down": False}
    first = shapes.get(f"arg:{_STEM[0]}_weight")
    if first is not None:
        found["stem_width"] = first[0]
    counts = [num_in_row(shapes, partial(_block, stage)) for stage in range(2, 6)]
    width = shapes.get("arg:conv2_1_3x3_weight", (0,))[0]
    return found | named_backbone(counts, True, width)


register(
    Family(
        name="duc",
        title="a DUC-HDC network of its authors' MXNet code",
        parts=("backbone", "head"),
        rules=_rules,
        recognises=lambda names: f"arg:{_STEM[0]}_weight" in names,
        heads=((f"arg:{_HEAD}", "duc"),),
        conventions=(
            ("dilation", "hdc_released"),
            ("stride_first", True),
            ("padded_pool", False),
            ("norm_epsilon", 1e-6),
            ("pixels", "mean"),
            ("align_corners", False),
        ),
        join=_join,
        fields=_fields,
    )
)
