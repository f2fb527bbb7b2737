"""From a checkpoint to a report, pictures or an archive for a test server."""
