#!/usr/bin/env python3
"""Train ICD, infer score maps and make seeds; `--help` lists the options."""
import sys

from icd import commands

if __name__ == '__main__':
    sys.exit(commands.run())
