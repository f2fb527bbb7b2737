"""Data augmentation: random crops, scales, rotations, blur and colour changes."""
