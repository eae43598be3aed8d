#!/usr/bin/env python3
"""Train ICD, infer score maps and make seeds; `--help` lists the options."""
import sys

from icd.steps.run import door

if __name__ == '__main__':
    sys.exit(door())
