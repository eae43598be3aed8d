#!/usr/bin/env python3
"""Train ICD, infer score maps and make seeds; `--help` lists the options."""
import sys

try:
    from icd.steps.run import command
except ModuleNotFoundError as error:
    sys.stderr.write('run_icd.py: the package %s is not installed: `make env`, then `. .venv/bin/activate`\n' % error.name)
    sys.exit(2)

if __name__ == '__main__':
    sys.exit(command())
