"""Weights files: one reader a format, one converter an architecture."""
