#!/usr/bin/env python3
"""Merge raw superpixels to at most 64 an image; `--help` lists the options."""
import sys

try:
    from icd.steps.merge_superpixels import command
except ModuleNotFoundError as error:
    print(f'generate_superpixel.py: the package {error.name} is not installed: `make env`, then `. .venv/bin/activate`',
          file=sys.stderr)
    sys.exit(2)

if __name__ == '__main__':
    sys.exit(command())
