"""Parameter names in weight files of sssegmentation's EncNets with ResNet-v1c."""

from encnet_jax.torch_weights import resnet
from encnet_jax.torch_weights.names import (
    NETWORK,
    Family,
    Rule,
    register,
    starting_with,
    unit,
)


def _rules(model_config) -> list[Rule]:
    context = "head/context"
    return [
        *resnet.rules(model_config, "backbone_net.", resnet.STEM_V1C),
        *unit("head/conv", "bottleneck"),
        *unit(f"{context}/project", "enc_module.encoding_project"),
        Rule(f"{context}/encoding", "enc_module.encoding.0"),
        Rule(f"{context}/norm", "enc_module.encoding.1"),
        Rule(f"{context}/attention", "enc_module.fc.0"),
        Rule(f"{context}/presence", "se_layer"),
        Rule("head/classifier/conv", "decoder.1"),
        *unit("aux_head/conv1", "auxiliary_decoder"),
        Rule("aux_head/classifier/conv", "auxiliary_decoder.4"),
    ]


register(
    Family(
        name="sssegmentation",
        title="an EncNet of sssegmentation",
        parts=NETWORK,
        rules=_rules,
        recognises=starting_with("backbone_net."),
        prefix="backbone_net.",
        heads=(
            ("enc_module.", "encnet"),
            ("bottleneck.", "another"),
            ("decoder.", "?"),
        ),
        switches=(
            ("se_loss", "se_layer.", True, False),
            ("aux", "auxiliary_decoder.", "fcn", "none"),
        ),
        conventions=(
            ("lateral", False),
            ("code_pooling", "mean"),
            ("gate", "residual"),
            ("align_corners", False),
        ),
    )
)
