"""What a value in a label map means, apart from the classes 0..C-1."""

IGNORE_LABEL = 255  # Pixels of this label are neither trained nor scored.
