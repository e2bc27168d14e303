"""The claims of the paper, checked: on the authors' published tables and on live logits.

    found = findings("book/artifacts")     every number, with its interval
    ledger(found)                          one verdict a claim

`on_published` and `on_live` hold the checks, one function each; `released` measures what the
released code computes. A verdict is what the findings add up to: changing a number changes it.
"""

from duokit.claims.finding import VERDICTS, Finding, condition, verdict
from duokit.claims.ledger import CLAIMS, Claim, describe, findings, ledger, save_ledger
from duokit.claims.live import LivePair, live_pairs, probe_pairs

__all__ = [
    "CLAIMS",
    "VERDICTS",
    "Claim",
    "Finding",
    "LivePair",
    "condition",
    "describe",
    "findings",
    "ledger",
    "live_pairs",
    "probe_pairs",
    "save_ledger",
    "verdict",
]
