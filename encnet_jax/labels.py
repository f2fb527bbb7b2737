"""Values in label maps other than the classes 0..C-1."""

IGNORE_LABEL = 255  # Pixels with this label are neither trained nor scored.
