"""Conditional random fields over labels, as functions of arrays.

CRFs over the positions ("nodes") of a network's feature map: `potentials` (scores of
pairs), `mean_field` (inference), `pyramid` (pooling before the potentials); the loss is
in losses.piecewise. CRFs over pixels: `dense`.

Source: Lin, Shen, van den Hengel and Reid, "Efficient Piecewise Training of Deep
Structured Models for Semantic Segmentation", CVPR 2016, called "the paper" here.
"""
