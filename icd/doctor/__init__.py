"""Checks of what the project needs of a machine: the rooms of `icd-doctor`."""
