"""The registries of heads. Importing this package does not load JAX.

A head maps the feature maps of a backbone to named outputs, such as 'logits'. Each
module of this folder registers its heads:

    @HEADS.register("fcn")
    def build(model_config, num_classes): ...

The function `build` returns a constructor of the head. The network calls the
constructor with `layers` (see models.layers.Layers) and `name`. Optional arguments of
`register` are

    fields: configuration fields that only this head reads.
    logits_stride: function that returns the distance between neighbouring logits, in
        image pixels, for a `config.model`; by default model.output_stride.
    decides: {field: value}; the values replace None in these configuration fields.
    loss_terms: names of the loss terms to use (see encnet_jax.losses); by default all
        terms for which the network returns the required outputs.
    network: 'module:function' that builds the whole network, for heads that run the
        backbone more than once; by default models.segmenter:build.

AUX_HEADS is the registry of auxiliary heads, which read stage 3. Auxiliary heads are
registered in the same way; `model.aux` is the name of one of them.
"""

from encnet_jax.registry import Registry, discover

HEADS: Registry = Registry("head")
AUX_HEADS: Registry = Registry("auxiliary head")
discover(__name__, __path__[0], HEADS=HEADS, AUX_HEADS=AUX_HEADS)
