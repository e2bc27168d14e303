"""What the released code computes, and what each point changes in the authors' own tables.

Line numbers are those of github.com/timgzhou/asymmetric-duos at commit d0f2efa.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from duokit import published
from duokit.claims.live import live_pairs
from duokit.claims.on_published import TITLES, in_balance
from duokit.claims.statistics import mean, resampled
from duokit.metrics.paper import paper_row
from duokit.metrics.table import table_row

KEYS = ["large", "small"]
GRID_FIRST, GRID_STEP, GRID_LAST = 0.05, 0.2, 4.85  # divisors, evaluate/3_duo_temp_scale.py L15-37
NEAR = 0.02
SHOWN = ("accuracy", "nll", "brier", "auroc", "aurc")


def own_class() -> pd.DataFrame:
    """Return what it changes to take the uncertainty at the large model's class.

    Only pairs whose accuracy and NLL agree in both of the authors' runs, so that nothing else
    differs between them.

    Returns:
        Index benchmark; columns pairs, own and released (mean AUROC), difference (released less
        own) with low and high, worst, and below_own and below_released: pairs whose AUROC is below
        that of the large model at its own temperature.
    """
    rows = {}
    for name, info in published.BENCHMARKS.items():
        own, released = published.own_class_duos(name), published.duos(name)
        both = own.merge(released, on=KEYS, suffixes=("_own", "_released"))
        same = np.isclose(both["accuracy_own"], both["accuracy_released"], atol=1e-9)
        both = both[same & np.isclose(both["nll_own"], both["nll_released"], rtol=1e-6)]
        base = both["large"].map(published.single_models(name)["auroc"])
        both = both.assign(difference=both["auroc_released"] - both["auroc_own"])
        value, low, high = resampled(both, mean("difference"))
        rows[info.title] = {
            "pairs": len(both),
            "own": both["auroc_own"].mean(),
            "released": both["auroc_released"].mean(),
            "difference": value,
            "low": low,
            "high": high,
            "worst": both["difference"].min(),
            "below_own": int((both["auroc_own"] < base).sum()),
            "below_released": int((both["auroc_released"] < base).sum()),
        }
    return _frame(rows)


def grid_distance() -> pd.DataFrame:
    """Return how many fits ended on or near a node of the grid that they started from.

    Returns:
        Index benchmark, "all" last; columns pairs, near (share of pairs with both divisors within
        .02 of a node), by_chance (that share if divisors fell anywhere between nodes), median (of
        the larger of both distances; .05 by chance would be a quarter of the step), at_the_end
        (pairs whose sidekick has the largest divisor of the grid, within .02).
    """
    tables = {
        published.BENCHMARKS[name].title: published.temperatures(name)
        for name in ("imagenet", "iwildcam", "caltech256")
    }
    tables["all"] = pd.concat(tables.values())
    rows = {}
    for title, table in tables.items():
        divisors = table[["divisor_duo_large", "divisor_duo_small"]].to_numpy()
        far = nearest_node(divisors).max(1)
        rows[title] = {
            "pairs": len(table),
            "near": float((far <= NEAR).mean()),
            "by_chance": (2 * NEAR / GRID_STEP) ** 2,
            "median": float(np.median(far)),
            "at_the_end": int((np.abs(divisors[:, 1] - GRID_LAST) <= NEAR).sum()),
        }
    return _frame(rows)


def nearest_node(divisors: np.ndarray) -> np.ndarray:
    """Return the distance of each divisor to the nearest node of the released grid, same shape."""
    nodes = np.arange(GRID_FIRST, GRID_LAST + GRID_STEP / 2, GRID_STEP)
    found: np.ndarray = np.abs(np.asarray(divisors)[..., None] - nodes).min(-1)
    return found


def fit_against_optimum(artifacts: Path) -> pd.DataFrame:
    """Return where the released recipe ends on live val logits, and where the optimum is.

    The recipe: the best of the grid's 625 nodes, then at most 50 steps of L-BFGS over the two
    divisors with a rate of .01 and no line search, the mean of both scaled members as logits.

    Args:
        artifacts: Folder of the committed records, book/artifacts.

    Returns:
        Index pair; columns start (val NLL at the best node, nats), end (where the recipe stops),
        optimum (`fit_weights`), excess (end less optimum), moved (largest change of a divisor).
    """
    rows = {}
    for pair in live_pairs(artifacts):
        if pair.records:
            val, duo = pair.duos[0].val, pair.duos[0]
            found = _recipe([torch.from_numpy(r.logits) for r in val], val[0].labels)
            rows[pair.title] = found | {
                "optimum": duo.fit.nll, "excess": found["end"] - duo.fit.nll
            }  # fmt: skip
    columns = ["start", "end", "optimum", "excess", "moved"]
    return _frame(rows)[columns].rename_axis("pair")


def _recipe(members: list[torch.Tensor], labels: np.ndarray) -> dict[str, float]:
    first, second = (member.double() for member in members)
    target = torch.from_numpy(labels)

    def nll(divisors: torch.Tensor) -> torch.Tensor:
        return cross_entropy((first / divisors[0] + second / divisors[1]) / 2, target)

    nodes = torch.arange(GRID_FIRST, GRID_LAST + GRID_STEP / 2, GRID_STEP, dtype=torch.float64)
    best = min(torch.cartesian_prod(nodes, nodes), key=lambda node: float(nll(node)))
    divisors = best.clone().requires_grad_()
    search = torch.optim.LBFGS([divisors], lr=0.01, max_iter=50)

    def closure() -> float:
        search.zero_grad()
        loss = nll(divisors)
        loss.backward()
        return float(loss.detach())

    search.step(closure)
    end = divisors.detach()
    moved = float((end - best).abs().max())
    return {"start": float(nll(best)), "end": float(nll(end)), "moved": moved}


def smallest_weight() -> pd.DataFrame:
    """Return the smallest weights that were fitted, and the smallest that the grid can give.

    Returns:
        Index benchmark; columns fitted (smallest weight of a sidekick), grid (1 / (2 x 4.85)).
    """
    return _frame(
        {
            published.BENCHMARKS[name].title: {
                "fitted": published.temperatures(name)["weight_small"].min(),
                "grid": 0.5 / GRID_LAST,
            }
            for name in ("imagenet", "iwildcam", "caltech256")
        }
    )


def two_baselines() -> pd.DataFrame:
    """Return Figure 1's averages, and those against the calibrated large model alone.

    Mean gains of duos with a FLOPs balance of .1 to .2. The figure's notebook keeps a row with and
    one without temperature for each large model, so that half of each average is a gain over an
    uncalibrated model (plot_notebooks/plot_3_%duos.ipynb).

    Returns:
        Index (benchmark, metric); columns both (mean over both baselines, as in the figure),
        calibrated, uncalibrated.
    """
    rows = {}
    for name, info in published.BENCHMARKS.items():
        calibrated, raw = (
            in_balance(published.gains(name, baseline=b, soups=True), 0.1, 0.2)
            for b in ("large", "large_raw")
        )
        for metric in SHOWN:
            pair = calibrated[metric].mean(), raw[metric].mean()
            rows[info.title, TITLES[metric]] = {
                "both": sum(pair) / 2, "calibrated": pair[0], "uncalibrated": pair[1]
            }  # fmt: skip
    found = pd.DataFrame.from_dict(rows, orient="index")
    found.index = pd.MultiIndex.from_tuples(found.index, names=["benchmark", "metric"])
    return found


def charged_flops() -> pd.DataFrame:
    """Return which pairs a FLOPs balance of .1 to .2 holds as charged, and as really run.

    Returns:
        Index benchmark; columns charged and run (number of pairs), left (pairs that leave the bin
        when FLOPs are those really spent), entered.
    """
    rows = {}
    for name, info in published.BENCHMARKS.items():
        table = published.gains(name)
        charged, run = (
            (table[column] > 0.1) & (table[column] <= 0.2)
            for column in ("flops_balance", "flops_balance_run")
        )
        rows[info.title] = {
            "charged": int(charged.sum()),
            "run": int(run.sum()),
            "left": int((charged & ~run).sum()),
            "entered": int((run & ~charged).sum()),
        }
    return _frame(rows)


def jumps(target: int = 98) -> pd.DataFrame:
    """Return how often the selective accuracy coverage of calibrated models falls next to 0.

    Args:
        target: 90 to 99, per cent.

    Returns:
        Index benchmark; columns models, next_to_0 (models with a SAC below .02), median,
        one_lower (median of the SAC one per cent lower; at 90 the same).
    """
    rows = {}
    for name, info in published.BENCHMARKS.items():
        alone = published.single_models(name)
        found = alone[f"sac{target}"]
        rows[info.title] = {
            "models": len(found),
            "next_to_0": int((found < 0.02).sum()),
            "median": found.median(),
            "one_lower": alone[f"sac{max(90, target - 1)}"].median(),
        }
    return _frame(rows)


def conventions(artifacts: Path) -> pd.DataFrame:
    """Return the same duo by the released conventions and by duokit's, on live logits.

    Args:
        artifacts: Folder of the committed records, book/artifacts.

    Returns:
        Index (pair, metric); columns released (uncertainty at the large model's class, as the
        released code takes it), duokit, and difference. The Brier score of the released code is
        the mean over classes: times k it is the usual one, which is what the table compares.
    """
    rows = {}
    for pair in live_pairs(artifacts):
        if not pair.records:
            continue
        large, small = pair.records["test"]
        logits = pair.duos[0].logits((large, small))
        theirs = paper_row(logits, large.labels, confidence_class=large.logits.argmax(1))
        theirs["brier"] *= large.k
        ours = table_row(logits, large.labels)
        for metric in ("nll", "brier", "ece", "auroc", "aurc", "sac98"):
            both = theirs[metric], float(ours[metric])
            rows[pair.title, TITLES[metric]] = {
                "released": both[0], "duokit": both[1], "difference": both[0] - both[1]
            }  # fmt: skip
    found = pd.DataFrame.from_dict(rows, orient="index")
    found.index = pd.MultiIndex.from_tuples(found.index, names=["pair", "metric"])
    return found


def _frame(rows: Mapping[str, Mapping[str, float]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows.values()), index=list(rows)).rename_axis("benchmark")
