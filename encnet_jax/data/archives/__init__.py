"""Files of a data set as published, in folders and archives."""
