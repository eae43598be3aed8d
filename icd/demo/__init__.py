"""The whole pipeline on a small drawn data set."""
