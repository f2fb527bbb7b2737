"""Functions for two conditional random fields (CRFs) over labels.

The CRF of the head 'piecewise_crf' has one node for each position of a feature map:
`potentials` computes scores of pairs of nodes, `mean_field` infers marginals, and
`pyramid` pools features; the loss is in losses.piecewise. The CRF of the module `dense`
has one node for each pixel and refines predictions.

Source: "the paper" in this folder is Lin, Shen, van den Hengel and Reid, "Efficient
Piecewise Training of Deep Structured Models for Semantic Segmentation", CVPR 2016. The
module `dense` has other sources.
"""
