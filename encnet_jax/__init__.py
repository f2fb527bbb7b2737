"""EncNet (Context Encoding for Semantic Segmentation, CVPR 2018) in JAX and Flax."""

__version__ = "0.1.0"
