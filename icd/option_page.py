"""The page of all options, docs/options.md: `make options`."""
from __future__ import annotations

from icd import (
    audit_options,
    cli,
    doctor_options,
    evaluate_options,
    maps_options,
    pipeline_options,
    segment_options,
    watch_options,
    weights_options,
)

PAGE = {'icd-doctor': doctor_options.DOCTOR, 'icd-pipeline': pipeline_options.PIPELINE, 'run_icd.py': cli.RUN,
        'generate_superpixel.py': cli.SUPERPIXEL, 'icd-evaluate': evaluate_options.EVALUATE,
        'icd-seeds': maps_options.SEEDS, 'icd-audit': audit_options.AUDIT, 'icd-watch': watch_options.WATCH,
        **{f'icd-segment {stage}': table for stage, table in segment_options.COMMANDS.items()
           if table is not evaluate_options.EVALUATE},
        'icd-export': segment_options.EXPORT,
        **{f'icd-weights {name}': table for name, table in weights_options.COMMANDS.items()}}

if __name__ == '__main__':
    for _title, _table in cli.tables(PAGE):
        print(f'### `{_title}`\n\n{_table}\n')
