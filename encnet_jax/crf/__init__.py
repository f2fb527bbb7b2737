"""Conditional random fields over labels, as functions of arrays.

Of the network's nodes: `potentials` (scores of pairs), `piecewise` (their loss),
`mean_field` (their inference), `pyramid` (pooling before them). Of pixels: `dense`.

Source: Lin, Shen, van den Hengel and Reid, "Efficient Piecewise Training of Deep
Structured Models for Semantic Segmentation", CVPR 2016, called "the paper" here.
"""
