#!/usr/bin/env python3
"""Merge raw superpixels to at most 64 an image; `--help` lists the options."""
import sys

from icd import commands

if __name__ == '__main__':
    sys.exit(commands.superpixel())
