"""How good were the choices? What each rule chose, against what the test images say was best.

Live: every rule looks at the validation split only, and the test split judges. On the authors'
tables there are test metrics only; so `select_sidekick` cannot be repeated there, and the simple
rules that read a metric read it from the very images that judge: they have it easier there.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from duokit import published
from duokit.ablations.select import choose, judge_candidates
from duokit.evaluation import fit_duo
from duokit.logits.record import Record
from duokit.metrics.intervals import intervals
from duokit.metrics.scores import Scores

NONE = "none"  # the large model alone
RANDOM = "any, by chance"
# Rule -> column that is sorted, and whether upwards. All but the first two are the simple ones.
SIMPLE: dict[str, tuple[str, bool]] = {
    "lowest own NLL": ("own_nll", True),
    "most accurate alone": ("own_accuracy", False),
    "dearest": ("flops_balance", False),
    "cheapest": ("flops_balance", True),
}
RULES = ("cross-fitted NLL", "cross-fitted AUGRC", "score test alone", *SIMPLE, RANDOM)


def evaluate_choices(
    large: Mapping[str, Record],
    candidates: Mapping[str, Mapping[str, Record]],
    *,
    part: str = "test",
    folds: int = 5,
    alpha: float = 0.05,
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return what each rule chose under each budget, and how that did on test.

    Budgets are the FLOPs balances of the candidates from the second cheapest on, so that each
    budget leaves a choice. The best is the affordable duo, or the large model alone, with the
    lowest NLL on `part`; it was picked by the luck of these images too, so what lies within its
    interval may be as good.

    Args:
        large: Part -> record; "val" and `part`.
        candidates: Name -> the same of a sidekick.
        part: What judges.
        folds: Of the cross-fitting.
        alpha: Of the score test, as `select_sidekick`.
        resamples: Behind each interval, 1 or more.
        seed: Of folds and bootstrap.

    Returns:
        One row a budget and rule of RULES: budget, candidates (how many are affordable), rule,
        chosen ("none": the large model alone; "" for the random choice), best, value (NLL on
        `part`), best_value, difference (>= 0), low and high (paired 95 % interval of it), captured
        (the choice's gain over the large model as a share of the best one's; nan if that is 0),
        is_best and within (the interval holds 0). Of the random choice all are means over the
        affordable candidates, without interval.

    Raises:
        ValueError: Fewer than two candidates; as `judge_candidates`.
        KeyError: A part that is missing.
    """
    val = {name: records["val"] for name, records in candidates.items()}
    judged = judge_candidates(large["val"], val, folds=folds, alpha=alpha, seed=seed)
    answers = {name: _answers(large, records, part) for name, records in candidates.items()}
    scores = {name: found["duo"] for name, found in answers.items()}
    scores[NONE] = next(iter(answers.values()))["large"]
    nll = pd.Series({name: float(s.nll.mean()) for name, s in scores.items()})
    told: dict[tuple[str, str], tuple[float, float]] = {}
    rows = []
    for budget in _budgets(judged["flops_balance"]):
        affordable = judged[judged["flops_balance"] <= budget]
        best = str(nll[[*affordable.index, NONE]].idxmin())
        options = [*affordable.index, NONE]
        for name in options:
            if (name, best) not in told:
                told[name, best] = _interval(scores[name], scores[best], resamples, seed)
        ends = pd.DataFrame(
            [told[name, best] for name in options], index=options, columns=["low", "high"]
        )
        for rule, chosen in _picks(judged, affordable, budget).items():
            rows.append(_outcome(rule, chosen, affordable.index, nll, best) | {"budget": budget})
            rows[-1] |= _within(chosen, affordable.index, ends)
    columns = [
        "budget",
        "candidates",
        "rule",
        "chosen",
        "best",
        "value",
        "best_value",
        "difference",
    ]
    return pd.DataFrame(rows)[[*columns, "low", "high", "captured", "is_best", "within"]]


def published_choices(benchmark: str, *, metric: str = "nll") -> pd.DataFrame:
    """Return what the simple rules would have chosen among the authors' pairs, and its outcome.

    The authors' tables hold test metrics only. So `select_sidekick` cannot be repeated there, the
    rules that ask for a metric take it from the test images, and no interval is known.

    Args:
        benchmark: One of `duokit.published.BENCHMARKS`.
        metric: What judges, a metric of `duokit.published.METRICS`.

    Returns:
        As `evaluate_choices`, with the column large and without low, high and within, for the
        simple rules and the random choice. Value and difference are oriented so that lower is
        better: of a metric where higher is better they are 1 - metric.

    Raises:
        ValueError: Another benchmark or metric.
    """
    if metric not in published.METRICS:
        raise ValueError(f"metric is {metric!r}; choose from {', '.join(published.METRICS)}")
    perfect = published.METRICS[metric]
    alone = published.single_models(benchmark)
    pairs = published.duos(benchmark)
    pairs = pairs[~pairs["large"].str.endswith("_greedy")]
    rows = []
    for large, some in pairs.groupby("large", sort=False):
        table = some.set_index("small")
        table["own_nll"], table["own_accuracy"] = alone["nll"], alone["accuracy"]
        value = (table[metric] - perfect).abs()
        value[NONE] = abs(float(alone[metric][str(large)]) - perfect)
        for budget in _budgets(table["flops_balance"]):
            affordable = table[table["flops_balance"] <= budget]
            best = str(value[[*affordable.index, NONE]].idxmin())
            picks = {rule: _first(affordable, *how) for rule, how in SIMPLE.items()}
            for rule, chosen in (picks | {RANDOM: ""}).items():
                rows.append(_outcome(rule, chosen, affordable.index, value, best))
                rows[-1] |= {"large": large, "budget": budget}
    columns = ["large", "budget", "candidates", "rule", "chosen", "best", "value", "best_value"]
    return pd.DataFrame(rows)[[*columns, "difference", "captured", "is_best"]]


def summarise_choices(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row a rule: how often it chose the best, and what it left on the table.

    Args:
        table: From `evaluate_choices` or `published_choices`, of one or more large models.

    Returns:
        Index rule; columns cases, is_best (share), within (share; if the table has intervals),
        captured (mean over cases where the best gains something), difference (mean), worst
        (largest difference).

    Raises:
        ValueError: An empty table.
    """
    if table.empty:
        raise ValueError("the table is empty: there is no choice to summarise")
    groups = table.groupby("rule", sort=False)
    shares = [name for name in ("is_best", "within", "captured") if name in table]
    found = groups[[*shares, "difference"]].mean()
    found.insert(0, "cases", groups.size())
    return found.assign(worst=groups["difference"].max())


def captured_by_budget(table: pd.DataFrame, edges: Sequence[float]) -> pd.DataFrame:
    """Return the mean share of the best gain that each rule captured, by budget.

    Args:
        table: As for `summarise_choices`.
        edges: Rising FLOPs balances; a bin holds budgets above one edge up to the next.

    Returns:
        Index rule, one column a bin, named by its upper edge; nan where no budget lies.
    """
    bins = pd.cut(table["budget"], list(edges), labels=list(edges[1:])).astype(float)
    found = table.pivot_table(index="rule", columns=bins, values="captured", sort=False)
    return found.reindex(columns=list(edges[1:]))


def _budgets(balances: pd.Series) -> list[float]:
    """Return the distinct balances under which two or more candidates are affordable."""
    found = [float(b) for b in np.unique(balances) if (balances <= b).sum() > 1]
    if not found:
        raise ValueError(f"{len(balances)} candidate(s): give two or more, or there is no choice")
    return found


def _answers(
    large: Mapping[str, Record], small: Mapping[str, Record], part: str
) -> dict[str, Scores]:
    return fit_duo([large["val"], small["val"]]).answers([large[part], small[part]])


def _interval(first: Scores, best: Scores, resamples: int, seed: int) -> tuple[float, float]:
    if first is best:
        return 0.0, 0.0
    table = intervals(first, best, metrics=["nll"], resamples=resamples, seed=seed)
    low, high = table[["difference_low", "difference_high"]].to_numpy()[0]
    return float(low), float(high)


def _picks(judged: pd.DataFrame, affordable: pd.DataFrame, budget: float) -> dict[str, str]:
    """Return rule -> what it chooses; "" for the random choice."""
    found = {}
    for rule, by in zip(RULES[:2], ("nll", "augrc"), strict=True):
        ranked = choose(judged, budget=budget, by=by)  # type: ignore[arg-type]
        found[rule] = str(ranked.index[0]) if ranked["chosen"].any() else NONE
    passed = affordable[affordable["passed"]]
    found[RULES[2]] = _first(passed, "promised", False) if len(passed) else NONE
    found |= {rule: _first(affordable, *how) for rule, how in SIMPLE.items()}
    return found | {RANDOM: ""}


def _first(table: pd.DataFrame, column: str, ascending: bool) -> str:
    """Return the first by a column; of equal ones the cheaper, then the earlier."""
    signed = table[column] if ascending else -table[column]
    order = np.lexsort((table["flops_balance"].to_numpy(), signed.to_numpy()))
    return str(table.index[order[0]])


def _outcome(
    rule: str, chosen: str, affordable: pd.Index, value: pd.Series, best: str
) -> dict[str, object]:
    """Return how a choice did; means over all affordable ones if it is the random choice."""
    names = [chosen] if chosen else list(affordable)
    mean, least, nothing = (
        float(value.loc[of].to_numpy().mean()) for of in (names, [best], [NONE])
    )
    possible = nothing - least
    return {
        "candidates": len(affordable),
        "rule": rule,
        "chosen": chosen,
        "best": best,
        "value": mean,
        "best_value": least,
        "difference": mean - least,
        "captured": (nothing - mean) / possible if possible > 0 else np.nan,
        "is_best": float((value[names] == least).mean()),
    }


def _within(chosen: str, affordable: pd.Index, ends: pd.DataFrame) -> dict[str, float]:
    """Return the interval of a choice and whether it holds 0; for the random one the share."""
    if not chosen:
        return {
            "low": np.nan,
            "high": np.nan,
            "within": float((ends["low"][affordable] <= 0).mean()),
        }
    low, high = (float(ends[end][chosen]) for end in ("low", "high"))
    return {"low": low, "high": high, "within": float(low <= 0)}
