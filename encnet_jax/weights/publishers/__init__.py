"""One module per publisher; importing it registers the publisher's files."""
