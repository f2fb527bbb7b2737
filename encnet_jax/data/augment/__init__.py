"""Random crops, colours and scales: what is drawn, and how pixels change."""
