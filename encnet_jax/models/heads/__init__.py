"""Heads by name. Importing this package does not load JAX.

A head maps the stages of a backbone to named outputs. Each module of this folder
registers its own:

    @HEADS.register("fcn")
    def build(model_config, num_classes): ...

The function returns a callable that makes the head, given `layers` and `name`. A
registration may declare

    fields: configuration fields that only this head reads.
    logits_stride: model_config -> image pixels between neighbouring logits; by default
        model.output_stride.
    decides: {field: value} that the head sets where the configuration has None.
    loss_terms: the only terms of the loss (see encnet_jax.losses) that apply; by
        default all whose outputs the network returns.
    network: 'module:function' that builds the whole network, for heads that run the
        backbone more than once; by default models.segmenter.Segmenter.

AUX_HEADS has the heads on stage 3 that `model.aux` may name, registered in the same
way.
"""

from encnet_jax.registry import Registry, discover

HEADS: Registry = Registry("head")
AUX_HEADS: Registry = Registry("auxiliary head")
discover(__name__, __path__[0], HEADS=HEADS, AUX_HEADS=AUX_HEADS)
