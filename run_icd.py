#!/usr/bin/env python3
"""Train ICD, infer score maps and make seeds; `--help` lists the options."""
import sys

try:
    from icd.steps.run import command
except ModuleNotFoundError as error:
    print(f'run_icd.py: the package {error.name} is not installed: `make env`, then `. .venv/bin/activate`',
          file=sys.stderr)
    sys.exit(2)

if __name__ == '__main__':
    sys.exit(command())
