"""Ablations: what depends on which choice, asked of records and of the authors' tables."""

from duokit.ablations.cascade_costs import (
    cost_table,
    matched_answers,
    measure,
    sidekick_table,
)
from duokit.ablations.cascade_targets import target_table
from duokit.ablations.cascades import CascadeRun, cascade_runs, gate_table
from duokit.ablations.choices import (
    captured_by_budget,
    evaluate_choices,
    published_choices,
    summarise_choices,
)
from duokit.ablations.comparing import paired_test, summary, verdicts
from duokit.ablations.compression import compression_table
from duokit.ablations.gatekeeper_claims import forms_needed, gatekeeper_findings
from duokit.ablations.pairs import pairs
from duokit.ablations.ranking import rank_changes, ranking_by_temperature, ranking_by_trust
from duokit.ablations.recalibration import ORDERS, calibration_orders, refit_under_shift
from duokit.ablations.relation import RELATIONS, family, relation
from duokit.ablations.select import (
    choose,
    cross_fitted,
    judge_candidates,
    pareto_front,
    select_sidekick,
)
from duokit.ablations.soups import (
    compare_groups,
    ingredients,
    members_to_match,
    published_soup_duos,
    published_soups,
)
from duokit.ablations.temperatures import (
    bootstrap_weights,
    compare_errors,
    published_weights,
    summarise_sizes,
    trust_small,
    weights_by_val_size,
    weights_of_pairs,
)

__all__ = [
    "ORDERS",
    "calibration_orders",
    "refit_under_shift",
    "rank_changes",
    "ranking_by_temperature",
    "ranking_by_trust",
    "captured_by_budget",
    "compression_table",
    "evaluate_choices",
    "published_choices",
    "summarise_choices",
    "choose",
    "cross_fitted",
    "judge_candidates",
    "pareto_front",
    "select_sidekick",
    "compare_groups",
    "ingredients",
    "members_to_match",
    "published_soup_duos",
    "published_soups",
    "bootstrap_weights",
    "compare_errors",
    "published_weights",
    "summarise_sizes",
    "trust_small",
    "weights_by_val_size",
    "weights_of_pairs",
    "RELATIONS",
    "family",
    "paired_test",
    "pairs",
    "relation",
    "summary",
    "verdicts",
    "CascadeRun",
    "cascade_runs",
    "gate_table",
    "measure",
    "cost_table",
    "matched_answers",
    "sidekick_table",
    "target_table",
    "forms_needed",
    "gatekeeper_findings",
]
