"""One module per data set, with its name; `DATA_SET` in it is the declaration."""
