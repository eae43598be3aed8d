"""Networks and losses: arrays to arrays, on MXNet; no files."""
