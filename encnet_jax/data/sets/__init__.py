"""The data sets: classes, colours, ids, splits; and the generated ones."""
