"""Special values in label maps, in addition to the class ids 0..C-1."""

IGNORE_LABEL = 255  # Pixels with this label are neither trained nor scored.
