"""The command `duokit`: parses, calls, prints.

`run` executes a notebook with other parameters, `fit` and `evaluate` work on logits in files,
`probe`, `finetune`, `sweep`, `soup` and `zoo` make logits from pictures, `list` shows what a
folder holds, and `doctor` what this machine has.
"""

from duokit.cli.entry import main

__all__ = ["main"]
