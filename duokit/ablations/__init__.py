"""Ablations: what depends on which choice, asked of records and of the authors' tables."""

from duokit.ablations.comparing import corrected, paired_test, summary, verdicts
from duokit.ablations.pairs import pairs
from duokit.ablations.relation import RELATIONS, family, relation

__all__ = [
    "RELATIONS",
    "corrected",
    "family",
    "paired_test",
    "pairs",
    "relation",
    "summary",
    "verdicts",
]
