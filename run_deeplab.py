#!/usr/bin/env python3
"""Train DeepLab-v2 on seeds: `icd-segment train`; `--help` lists the options."""
import sys

from icd import commands

if __name__ == '__main__':
    sys.exit(commands.deeplab())
