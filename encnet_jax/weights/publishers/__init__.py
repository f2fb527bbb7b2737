"""One module per publisher; importing the module registers the publisher's files."""
