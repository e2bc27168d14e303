"""The command `duokit`: parses, calls, prints.

`run` executes a notebook with other parameters, `fit` and `evaluate` work on logits in files,
`probe`, `finetune`, `sweep`, `soup`, `zoo` and `predict` make logits from pictures,
`import-official` from the authors' files, `list` shows what a folder holds, and `doctor` what this
machine has.
"""

from duokit.cli.entry import main

__all__ = ["main"]
