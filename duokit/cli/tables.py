"""Tables as CSV, safe to open in a spreadsheet."""

from __future__ import annotations

import pandas as pd

from duokit.logits.cells import guarded


def csv_text(table: pd.DataFrame) -> str:
    """Returns a table as CSV in which no text is a spreadsheet's formula; numbers stay numbers."""
    safe = table.copy()
    for name in safe.columns:
        if safe[name].dtype.kind not in "biufc":
            safe[name] = [guarded(one) if isinstance(one, str) else one for one in safe[name]]
    safe.columns = [guarded(one) if isinstance(one, str) else one for one in safe.columns]
    return str(safe.to_csv(index=False, lineterminator="\n"))
