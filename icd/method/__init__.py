"""The rules of the paper on plain arrays: no files, no MXNet."""
