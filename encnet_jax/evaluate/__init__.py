"""From a checkpoint to a report, or to an archive for a test server."""
