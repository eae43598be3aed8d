#!/usr/bin/env python3
"""Merge raw superpixels to at most 64 an image; `--help` lists the options."""
import sys

from icd.steps.merge_superpixels import door

if __name__ == '__main__':
    sys.exit(door())
