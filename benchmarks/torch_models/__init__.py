"""Plain PyTorch versions of the networks whose weights are converted, with their names.

Source of the names: torchvision's resnet.py and segmentation networks,
PyTorch-Encoding's models, mmsegmentation's decode heads and sssegmentation's EncNet.
Dropout is included only if it has an index in a sequence.
"""
