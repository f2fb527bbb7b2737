"""Conditional random fields over labels, as functions of arrays.

For the nodes of a network's featuremap: `potentials` (scores of pairs), `mean_field`
(inference), `pyramid` (pooling before both); losses.piecewise has the loss. For pixels:
`dense`.

Source: Lin, Shen, van den Hengel and Reid, "Efficient Piecewise Training of Deep
Structured Models for Semantic Segmentation", CVPR 2016, called "the paper" here.
"""
