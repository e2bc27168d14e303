"""The two weights of a duo: what they follow, how sure they are, how many images they need.

A weight alone says little: a model with large logits needs a small one. So each weight is divided
by the weight that its model needs alone (1 / its temperature), and of the two relative weights one
number is kept, the sidekick's share of the trust:

    trust_small = relative_small / (relative_large + relative_small)

0 is a sidekick that is left out, 1/2 one that is trusted as much as the large model.
"""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import cross_entropy

from duokit import published
from duokit.checks import Array
from duokit.evaluation import fit_duo
from duokit.fusion.combine import weighted
from duokit.fusion.weights import WeightFit, fit_weights
from duokit.logits.record import Record, same_images

MEMBERS = ("large", "small")
ROUNDING = 1e-6  # nats: test NLLs from float32 logits that differ by less are equal


def trust_small(weights: Sequence[float] | np.ndarray, own: Sequence[float] | np.ndarray) -> float:
    """Return the sidekick's share of the trust, in [0, 1].

    Of a sidekick that is near to useless alone its own weight is near 0, and the share, a ratio of
    two small numbers, says little.

    Args:
        weights: The two joint weights, the large model's first, >= 0.
        own: The weight of each model alone, >= 0.

    Returns:
        0 where the sidekick's weight is 0, 1 where only the large model's is; nan where both are,
        or where a model has a weight but needs none alone.

    Raises:
        ValueError: Not two of each, or a weight below 0.
    """
    joint, alone = (np.asarray(each, dtype=float) for each in (weights, own))
    if joint.shape != (2,) or alone.shape != (2,) or (joint < 0).any() or (alone < 0).any():
        raise ValueError(
            f"expected two weights and two own weights, all >= 0, large first, "
            f"not {weights} and {own}"
        )
    if (joint == 0).any():
        return float("nan") if (joint == 0).all() else float(joint[0] == 0)
    if (alone == 0).any():
        return float("nan")
    large, small = joint / alone
    return float(small / (large + small))


def weights_of_pairs(pairs: Mapping[str, tuple[Record, Record]]) -> pd.DataFrame:
    """Return the weights of live duos beside what they might follow.

    Args:
        pairs: Name -> validation records of the large model and the sidekick.

    Returns:
        Index pair; columns large, small (models), flops_balance (nan if not known), accuracy_gap
        (large less small, on val), weight_large, weight_small, se_large, se_small, own_large,
        own_small (weights of each alone) and trust_small.

    Raises:
        ValueError: No pair, or as `fit_duo`.
    """
    if not pairs:
        raise ValueError("there is no pair: give at least one name with two validation records")
    rows = {}
    for name, records in pairs.items():
        duo = fit_duo(records)
        right = [float((r.logits.argmax(1) == r.labels).mean()) for r in records]
        rows[name] = {
            "large": records[0].model,
            "small": records[1].model,
            "flops_balance": np.nan if duo.flops_balance is None else duo.flops_balance,
            "accuracy_gap": right[0] - right[1],
            **dict(zip(("weight_large", "weight_small"), duo.weights, strict=True)),
            **dict(zip(("se_large", "se_small"), duo.fit.standard_errors, strict=True)),
            **dict(zip(("own_large", "own_small"), duo.own_weights, strict=True)),
            "trust_small": trust_small(duo.weights, duo.own_weights),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("pair")


def published_weights(benchmark: str) -> pd.DataFrame:
    """Return the authors' fitted weights of each pair in the same form.

    Args:
        benchmark: "imagenet", "iwildcam" or "caltech256".

    Returns:
        One row a pair: columns large, small, flops_balance, accuracy_gap (of the test images: val
        metrics are not public), weight_large, weight_small, own_large, own_small and trust_small.

    Raises:
        ValueError: Another benchmark.
    """
    table = published.temperatures(benchmark)
    table = table[~table["large"].str.endswith("_greedy")].reset_index(drop=True)
    right = published.single_models(benchmark)["accuracy"]
    found = table[["large", "small", "flops_balance"]].copy()
    found["accuracy_gap"] = table["large"].map(right) - table["small"].map(right)
    for member in MEMBERS:
        found[f"weight_{member}"] = table[f"weight_{member}"]
    for member in MEMBERS:  # alone a model is divided by its value once, without the duo's 1 / 2
        found[f"own_{member}"] = 1 / table[f"divisor_single_{member}"]
    columns = [f"{kind}_{member}" for kind in ("weight", "own") for member in MEMBERS]
    numbers = found[columns].to_numpy()
    found["trust_small"] = [trust_small(row[:2], row[2:]) for row in numbers]
    return found


def bootstrap_weights(
    members: Sequence[Array], labels: Array, *, draws: int = 200, seed: int = 0
) -> pd.DataFrame:
    """Return the weights fitted anew on bootstrap samples of the images.

    Args:
        members: m arrays (n, k) of logits.
        labels: (n,) class numbers.
        draws: How many samples of n images, with replacement; 2 or more.
        seed: Of the draws.

    Returns:
        One row a draw, one column a member ("large", "small", "member 3", ...). Draws without a
        finite or unique optimum keep what `fit_weights` returns, without its warning.

    Raises:
        ValueError: Fewer than 2 draws; as `fit_weights`.
    """
    if draws < 2:
        raise ValueError(f"draws must be 2 or more, not {draws}: one draw has no spread")
    rng, n = np.random.default_rng(seed), len(labels)
    places = [rng.integers(0, n, n) for _ in range(draws)]
    fits = [_quiet_fit([z[rows] for z in members], labels[rows]) for rows in places]
    names = [*MEMBERS, *(f"member {j}" for j in range(3, len(members) + 1))][: len(members)]
    return pd.DataFrame([fit.weights for fit in fits], columns=names).rename_axis("draw")


def compare_errors(fit: WeightFit, drawn: pd.DataFrame) -> pd.DataFrame:
    """Return the fit's standard errors beside the spread of bootstrap draws.

    Args:
        fit: From `fit_weights`, on the images that were drawn from.
        drawn: From `bootstrap_weights`.

    Returns:
        Index member; columns weight, standard_error (of the fit), bootstrap (standard deviation of
        the draws), low and high (2.5 and 97.5 % quantiles of the draws).

    Raises:
        ValueError: Another number of members.
    """
    if len(fit.weights) != drawn.shape[1]:
        raise ValueError(f"the fit has {len(fit.weights)} weights, the draws {drawn.shape[1]}")
    table = pd.DataFrame(
        {"weight": fit.weights, "standard_error": fit.standard_errors}, index=drawn.columns
    )
    table["bootstrap"] = drawn.std(ddof=1)
    table["low"], table["high"] = drawn.quantile(0.025), drawn.quantile(0.975)
    return table.rename_axis("member")


def weights_by_val_size(
    val: Sequence[Record],
    test: Sequence[Record],
    *,
    sizes: Sequence[int],
    draws: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Return weights and test NLL of duos that were fitted on few validation images.

    Args:
        val: Records of the large model and the sidekick.
        test: The same of the images that judge.
        sizes: Numbers of images, 1 ... all of val; all of them are fitted once.
        draws: Random subsets a size, without replacement.
        seed: Of the subsets.

    Returns:
        One row a size and draw: size, draw, weight_large, weight_small, nll (of the duo on test),
        nll_large (large model on test, at the temperature that the same subset gave) and status (of
        the joint fit; see WeightFit). Fits that warn do not warn here: read status.

    Raises:
        ValueError: A size outside 1 ... n, or other images in the records.
    """
    same_images(*val)
    same_images(*test)
    n = val[0].n
    wrong = [size for size in sizes if not 1 <= size <= n]
    if wrong:
        raise ValueError(f"val has {n} images: a size of {wrong[0]} cannot be drawn from it")
    rng, rows = np.random.default_rng(seed), []
    for size in sizes:
        for draw in range(draws if size < n else 1):
            chosen = rng.choice(n, size, replace=False)
            members, labels = [r.logits[chosen] for r in val], val[0].labels[chosen]
            fit, alone = _quiet_fit(members, labels), _quiet_fit(members[:1], labels)
            rows.append(
                {
                    "size": size,
                    "draw": draw,
                    "weight_large": fit.weights[0],
                    "weight_small": fit.weights[1],
                    "nll": _nll(test, fit.weights),
                    "nll_large": _nll(test[:1], alone.weights),
                    "status": fit.status,
                }
            )
    return pd.DataFrame(rows)


def summarise_sizes(table: pd.DataFrame, column: str = "nll") -> pd.DataFrame:
    """Return the spread over draws for each number of validation images.

    Args:
        table: From `weights_by_val_size`.
        column: What is summarised.

    Returns:
        Index size; columns value (median of the draws), low and high (10 and 90 % quantiles),
        draws, worse (share of draws whose duo has a higher test NLL than the large model, by more
        than rounding: a millionth of a nat) and optimal (share of draws with a unique, finite
        optimum).
    """
    groups = table.groupby("size")
    found = groups[column].quantile(np.array([0.5, 0.1, 0.9])).unstack()
    found.columns = pd.Index(["value", "low", "high"])
    found["draws"] = groups.size()
    worse = table["nll"] > table["nll_large"] + ROUNDING  # a sidekick of weight 0 changes nothing
    found["worse"] = worse.groupby(table["size"]).mean()
    found["optimal"] = (table["status"] == "optimal").groupby(table["size"]).mean()
    return found


def _nll(records: Sequence[Record], weights: np.ndarray) -> float:
    fused = torch.from_numpy(np.asarray(weighted([r.logits for r in records], weights)))
    return float(
        cross_entropy(fused, torch.from_numpy(records[0].labels), reduction="none").double().mean()
    )


def _quiet_fit(members: Sequence[Array], labels: Array) -> WeightFit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return fit_weights(members, labels)
