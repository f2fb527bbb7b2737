"""The registries of heads. Importing this package does not load JAX.

A head maps the feature maps of a backbone to named outputs, such as 'logits'. Each
module of this folder registers its heads:

    @HEADS.register("fcn")
    def build(model_config, num_classes): ...

The function `build` returns a constructor of the head, which is called with `layers`
and `name`. A registration may declare

    fields: configuration fields that only this head reads.
    logits_stride: function model_config -> distance between neighbouring logits in
        image pixels; by default model.output_stride.
    decides: {field: value}, values for fields that the configuration leaves at None.
    loss_terms: names of the loss terms to use (see encnet_jax.losses); by default all
        terms for which the network returns the required outputs.
    network: 'module:function' that builds the whole network, for heads that run the
        backbone more than once; by default models.segmenter:build.

AUX_HEADS is the registry of auxiliary heads, which read stage 3. They are registered in
the same way, and `model.aux` selects one by name.
"""

from encnet_jax.registry import Registry, discover

HEADS: Registry = Registry("head")
AUX_HEADS: Registry = Registry("auxiliary head")
discover(__name__, __path__[0], HEADS=HEADS, AUX_HEADS=AUX_HEADS)
