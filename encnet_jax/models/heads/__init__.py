"""Heads by name. Importing this package does not load JAX.

A head maps the stages of a backbone to named outputs. Each module of this folder
registers its own:

    @HEADS.register("fcn")
    def build(model_config, num_classes): ...

The function returns a callable that makes the head, given `layers` and `name`. A
registration may declare

    fields: configuration fields that only this head reads.
    logits_stride: function model_config -> distance of neighbouring logits in image
        pixels; by default model.output_stride.
    decides: {field: value}, values of fields that the configuration leaves at None.
    loss_terms: names of the terms of the loss (see encnet_jax.losses) that apply; by
        default all terms for which the network returns the outputs.
    network: 'module:function' that builds the whole network, for heads that run the
        backbone more than once; by default models.segmenter.Segmenter.

AUX_HEADS is the registry of auxiliary heads, which read stage 3; `model.aux` selects
one. They are registered in the same way.
"""

from encnet_jax.registry import Registry, discover

HEADS: Registry = Registry("head")
AUX_HEADS: Registry = Registry("auxiliary head")
discover(__name__, __path__[0], HEADS=HEADS, AUX_HEADS=AUX_HEADS)
