"""The stages: a module each, which takes files and gives files.

A stage of `icd-run` has two functions, and a third if it likes. `options` are of `icd.cli.RUN`, `inputs` the
`icd.data.inputs.Inputs` of the run.

- `check(options, inputs, problems, upcoming)` looks at everything that the stage needs, adds what is wrong to
  `problems` (`icd.errors.Problems`) and changes nothing. `upcoming` names the stages that run before it, whose outputs
  need not be there yet. It returns about how many bytes the stage will add to the snapshot folder.
- `run(options, inputs)` does the work and keeps what is up to date. It returns whether this process goes on: of
  several nodes only the first does. It raises `UserError` when something turns out to be unusable all the same.
- `plan(options, inputs)` returns what it would do, as text for `--dry-run`.
"""
from icd import console

console.require_opencv()
