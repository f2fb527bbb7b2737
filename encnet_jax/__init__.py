"""EncNet (Context Encoding for Semantic Segmentation, CVPR 2018) in JAX and Flax."""

import os

# Object stores through gcsfs or s3fs: TensorFlow's files know gs:// alone, have fewer
# methods, and would be imported for a checkpoint.
os.environ.setdefault("EPATH_USE_TF", "0")

__version__ = "0.1.0"
