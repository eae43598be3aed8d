#!/usr/bin/env python3
"""Train DeepLab-v2 on seeds: `icd-segment train`; `--help` lists the options."""
import sys

try:
    from icd import console
    from icd.steps import segment
except ModuleNotFoundError as error:
    print(f'run_deeplab.py: the package {error.name} is not installed: `make env`, then `. .venv/bin/activate`',
          file=sys.stderr)
    sys.exit(2)

if __name__ == '__main__':
    sys.exit(console.run_command(lambda arguments: segment.main(['train'] + arguments)))
