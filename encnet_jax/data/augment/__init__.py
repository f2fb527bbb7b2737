"""Data augmentation: random crops, scales, rotations, mirroring, blur and colours."""
