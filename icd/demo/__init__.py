"""The whole pipeline on a small drawn data set."""
from icd import console

console.require_opencv()
