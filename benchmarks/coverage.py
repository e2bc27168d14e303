"""How often does each interval hold the truth? Samples from populations whose numbers are known.

Shares are counted exactly, every outcome weighed by its probability. All else is simulated: a
population of images with logits and labels, its metrics being the truth; samples of n of its
images, drawn with replacement; of each sample the intervals that the kit prints. Fashion-MNIST is
the committed records of a duo and its large model, "overconfident" the same with the large model's
logits times 2.5, "nearly perfect" is made up: three classes, 1 % errors; "maps" are those of 100
Caltech-101 pictures. For p-values the two
predictors are swapped on every other image, so that there is no difference in the population.

    python benchmarks/coverage.py

A quarter of an hour on one core. Writes benchmarks/coverage.csv; `--page` prints the table of
book/metrics_reference.md that is made from it.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binom

from duokit.ablations.comparing import UNTESTED, paired_test
from duokit.ablations.temperatures import bootstrap_weights
from duokit.cascade.intervals import Outcome, cascade_intervals
from duokit.claims.statistics import mean
from duokit.claims.statistics import resampled as clustered
from duokit.evaluation import fit_duo
from duokit.fusion.weights import fit_weights
from duokit.logits.store import load
from duokit.metrics.chance import paired_interval, share_interval, spread_test
from duokit.metrics.ends import BIASED
from duokit.metrics.intervals import intervals, resampled
from duokit.metrics.scores import score
from duokit.metrics.table import METRICS, evaluate
from duokit.metrics.weighted import Weighted
from duokit.trust.agreement import SHARES, agreement
from duokit.trust.alignment import alignment, alignment_difference
from duokit.trust.calibration import calibration_similarity
from duokit.trust.maps import load_maps

HERE = Path(__file__).resolve().parent
TABLE = HERE / "coverage.csv"
FOLDER = HERE.parent / "book" / "artifacts" / "fashion_mnist_c-finetuned"
MAPS = HERE.parent / "book" / "maps" / "caltech101"
LEVEL, CLOSE = 0.95, 1e-9
ENDS, DIFFERENCE_ENDS = ["low", "high"], ["difference_low", "difference_high"]
COLUMNS = ["quantity", "of", "population", "n", "nominal", "observed", "error", "given", "method"]
SLOW = ("ece_class", "ece_smooth", "macro_f1")
SIZES = (50, 200, 1000)


def exact() -> list[dict]:
    """Shares and differences of two shares: every outcome, weighed by its probability."""
    rows = []
    for n in SIZES:
        for share in (0.5, 0.9, 0.99, 0.999):
            right = np.arange(n + 1)
            chance = binom.pmf(right, n, share)
            plain = [binom.ppf(end, n, right / n) / n for end in (0.025, 0.975)]
            ways = {"Clopper-Pearson": share_interval(right, n), "percentiles (not used)": plain}
            for method, (low, high) in ways.items():
                held = chance[(low <= share + CLOSE) & (share - CLOSE <= high)].sum()
                rows.append(_row("accuracy", "value", f"share {share}", n, held, 0, 1, method))
        more, fewer = (each.ravel() for each in np.indices((n + 1, n + 1), dtype=np.int32))
        more, fewer = more[more + fewer <= n], fewer[more + fewer <= n]
        low, high = paired_interval(more, fewer, n)
        for gained, lost in ((0.01, 0.01), (0.02, 0.0), (0.03, 0.01), (0.1, 0.05), (0.3, 0.0)):
            chance = binom.pmf(more, n, gained) * binom.pmf(fewer, n - more, lost / (1 - gained))
            true = gained - lost
            held = chance[(low <= true + CLOSE) & (true - CLOSE <= high)].sum()
            name = f"{gained} gained, {lost} lost"
            rows.append(_row("accuracy", "difference", name, n, held, 0, 1, "Bonett-Price"))
    return rows


def fashion() -> tuple[np.ndarray, np.ndarray, np.ndarray, list[np.ndarray]]:
    """Return logits of the duo and of the large model, labels, and the logits of both members."""
    names = ("resnet18-28-scratch-0", "lcnet_035-28-scratch-0")
    val, test = (
        [load(FOLDER / name / f"{part}.safetensors") for name in names] for part in ("val", "test")
    )
    duo = fit_duo(val)
    members = [record.logits.astype(np.float32) for record in test]
    large = np.float32(duo.own_weights[0]) * members[0]
    return np.asarray(duo.logits(test)), large, test[0].labels, members


def nearly_perfect(n: int = 40_000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(5)
    logits = random.normal(size=(n, 3))
    logits[:, 0] += random.normal(9, 3, n)
    probs = np.exp(logits - logits.max(1, keepdims=True))
    rising = (probs / probs.sum(1, keepdims=True)).cumsum(1)
    labels = (random.random((n, 1)) > rising).sum(1).clip(0, 2)
    return logits, logits + 0.7 * random.normal(size=logits.shape), labels


def metrics_rows(name: str, population: tuple, n: int, samples: int, metrics: list[str]) -> list:
    """Of each metric and difference: how often the interval is given, and holds the truth."""
    ours, theirs, labels = population
    truth = pd.DataFrame(
        {k: evaluate(score(z, labels), metrics) for k, z in (("a", ours), ("b", theirs))}
    )
    random, held, known = np.random.default_rng(1), [], []
    for seed in range(samples):
        at = random.integers(0, len(labels), n)
        pair = [score(z[at], labels[at]) for z in (ours, theirs)]
        table = intervals(*pair, metrics=metrics, resamples=200, seed=seed)
        ends = table[["low", "high", "difference_low", "difference_high"]].to_numpy()
        true = np.column_stack([truth["a"], truth["a"] - truth["b"]])
        held.append((ends[:, ::2] <= true + CLOSE) & (true - CLOSE <= ends[:, 1::2]))
        known.append(~np.isnan(ends[:, ::2]))
    rows = []
    for place, metric in enumerate(metrics):
        for kind, of in enumerate(("value", "difference")):
            given = np.array(known)[:, place, kind]
            share = np.array(held)[given, place, kind].mean() if given.any() else np.nan
            rows.append(
                _row(metric, of, name, n, share, given.sum(), given.mean(), _method(metric, of))
            )
    return rows


def test_rows(population: tuple, n: int, samples: int, metrics: list[str]) -> list:
    """How often p <= 5 % where there is no difference."""
    ours, theirs, labels = population
    swap = (np.arange(len(labels)) % 2).astype(bool)[:, None]
    ours, theirs = np.where(swap, theirs, ours), np.where(swap, ours, theirs)
    random, found = np.random.default_rng(2), []
    for seed in range(samples):
        at = random.integers(0, len(labels), n)
        flip = random.random((n, 1)) < 0.5
        one, other = ours[at], theirs[at]
        pair = [score(np.where(flip, *z), labels[at]) for z in ((one, other), (other, one))]
        weighted = [Weighted(s, metrics) for s in pair]
        drawn = resampled(weighted, metrics, resamples=200, seed=seed)
        less, values = drawn[0] - drawn[1], [evaluate(s, metrics) for s in pair]
        p = []
        for place, metric in enumerate(metrics):
            if metric in UNTESTED:
                gap = values[0][metric] - values[1][metric]
                p.append(spread_test(gap, less[:, place]))
            else:
                p.append(paired_test(metric, *pair, less[:, place])[0])
        found.append(p)
    rows = []
    for metric, p in zip(metrics, np.array(found).T, strict=True):
        known = p[~np.isnan(p)]
        kind = {"accuracy": "McNemar", "nll": "paired t", "brier": "paired t"}.get(
            metric, "bootstrap z"
        )
        kind += " (not used)" if metric in UNTESTED else ""
        share = (known <= 0.05).mean() if len(known) else np.nan
        row = _row(
            metric,
            "p-value",
            "Fashion-MNIST, swapped",
            n,
            share,
            len(known),
            len(known) / samples,
            kind,
        )
        rows.append(row | {"nominal": 0.05})
    return rows


def cascade_rows(population: tuple, n: int, samples: int) -> list:
    """Of each number of a cascade, and of how far it is from one that is as unsure as the large."""
    duo, _, labels, (large, small) = population
    right = [small.argmax(1) == labels, duo.argmax(1) == labels]
    gates = [score(z, labels).uncertainty for z in (small, large)]
    quick = ["small", "deferred", "auroc", "area", "s_d", "s_d_oracle"]
    rows = []
    for names, some in ((quick, samples), (["s_o"], samples // 4)):
        how = {"metrics": names, "budgets": [4] if names == quick else [], "points": 200}

        def table(at: np.ndarray, seed: int, how: dict = how, resamples: int = 200) -> pd.DataFrame:
            both = [Outcome(u[at], *(r[at] for r in right), (1, 10)) for u in gates]
            return cascade_intervals(*both, **how, resamples=resamples, seed=seed)

        true = table(np.arange(len(labels)), 0, resamples=1)
        drawn = [table(at, seed) for seed, at in _samples(len(labels), n, some, seed=3)]
        shares = {"small": "Clopper-Pearson", "deferred": "Clopper-Pearson"}
        rows += _counted("cascade: ", "value", n, true["value"], [t[ENDS] for t in drawn], shares)
        apart = true["difference"].drop(["small", "deferred"], errors="ignore")  # the same models
        ends = [t.loc[apart.index, DIFFERENCE_ENDS] for t in drawn]
        rows += _counted("cascade: ", "difference", n, apart, ends, {})
    return rows


def agreement_rows(population: tuple, n: int, samples: int) -> list:
    """Of each measure of agreement between the large and the small model, and less the duo's."""
    duo, _, labels, (large, small) = population

    def table(at: np.ndarray, seed: int, resamples: int = 200) -> pd.DataFrame:
        models = (large[at], small[at], labels[at])
        return agreement(*models, baseline=duo[at], resamples=resamples, seed=seed).measures

    true = table(np.arange(len(labels)), 0, resamples=0)
    drawn = [table(at, seed) for seed, at in _samples(len(labels), n, samples, seed=4)]
    plain = dict.fromkeys(("kl", "jensen_shannon", "probability_loyalty"), "percentiles")
    methods = dict.fromkeys(true.index, "Clopper-Pearson") | plain
    methods["accuracy_change"] = "Bonett-Price"
    rows = _counted("agreement: ", "value", n, true["value"], [t[ENDS] for t in drawn], methods)
    paired = dict.fromkeys((*SHARES, "accuracy_change"), "Bonett-Price")
    ends = [t[DIFFERENCE_ENDS] for t in drawn]
    return rows + _counted("agreement: ", "difference", n, true["difference"], ends, paired)


def trust_rows(population: tuple, n: int, samples: int) -> list:
    """Of the measures of calibration of two models in ten bins, and of their difference."""
    _, _, labels, (large, small) = population

    def table(at: np.ndarray, seed: int, resamples: int = 200) -> pd.DataFrame:
        models = {"large": large[at], "small": small[at]}
        found = calibration_similarity(models, labels[at], resamples=resamples, seed=seed)
        return found.xs("small").droplevel("form")

    true = table(np.arange(len(labels)), 0, resamples=2)
    drawn = [table(at, seed) for seed, at in _samples(len(labels), n, samples, seed=7)]
    methods = {"ece": "widened", "mce": "none"}
    return [
        row
        for of, ends in (("value", ENDS), ("difference", DIFFERENCE_ENDS))
        for row in _counted("trust: ", of, n, true[of], [t[ends] for t in drawn], methods)
    ]


def alignment_rows(n: int, samples: int) -> list:
    """Of the alignment of attribution maps, the pictures with committed maps as the population."""
    models = [f"tf_efficientnet_{m}" for m in ("lite2-192-finetuned-0", "lite0-96-finetuned-3")]
    folders = [MAPS / name for name in (*models, "tf_efficientnet_lite0-96-finetuned-4")]
    maps = [load_maps(folder / "kernel_shap-0.safetensors").values for folder in folders]
    names = ("large", "small", "another training")

    def tables(at: np.ndarray, seed: int) -> list[pd.DataFrame]:
        some = {name: values[at] for name, values in zip(names, maps, strict=True)}
        found = alignment(some, pairs=[names[:2]], resamples=200, seed=seed)
        apart = alignment_difference(some, names[:2], names[::2], resamples=200, seed=seed)
        return [table.set_index("measure") for table in (found, apart)]

    true = tables(np.arange(len(maps[0])), 0)
    drawn = [tables(at, seed) for seed, at in _samples(len(maps[0]), n, samples, seed=8)]
    return [
        row
        for kind, (of, column) in enumerate((("value", "value"), ("difference", "difference")))
        for row in _counted(
            "maps: ", of, n, true[kind][column], [each[kind][ENDS] for each in drawn], {}, "maps"
        )
    ]


def weight_rows(population: tuple, n: int, samples: int) -> list:
    """Of the two weights: 1.96 standard errors to either side, and quantiles of other draws."""
    _, _, labels, members = population
    true = pd.Series(fit_weights(members, labels).weights, ["large", "small"])
    plain, drawn = [], []
    for seed, at in _samples(len(labels), n, samples, seed=6):
        some = [z[at] for z in members]
        fit = fit_weights(some, labels[at])
        reach = 1.96 * fit.standard_errors[:, None] * [-1, 1]
        plain.append(pd.DataFrame(fit.weights[:, None] + reach))
        if seed < samples // 4:
            draws = bootstrap_weights(some, labels[at], draws=100, seed=seed)
            drawn.append(draws.quantile([0.025, 0.975]).T)
    errors = dict.fromkeys(true.index, "1.96 standard errors")
    rows = _counted("weight: ", "value", n, true, plain, errors)
    return rows + _counted("weight: ", "value", n, true, drawn, {})


def cluster_rows(groups: int, samples: int) -> list:
    """Of a mean over pairs, where each sidekick stands in four; made up."""
    rows = []
    for spread in (0.0, 1.0):
        ends = []
        for seed in range(samples):
            random = np.random.default_rng([9, seed])
            place = np.repeat(np.arange(groups), 4)
            gain = spread * random.normal(size=groups)[place] + random.normal(size=4 * groups)
            table = pd.DataFrame({"small": place, "gain": gain})
            found = clustered(table, mean("gain"), resamples=200, seed=seed)
            ends.append(pd.DataFrame([found[1:]]))
        true, of = pd.Series([0.0], ["mean over pairs"]), f"{spread:g} between sidekicks"
        rows += _counted("claims: ", "value", groups, true, ends, {}, of)
    return rows


def _samples(size: int, n: int, samples: int, *, seed: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (seed, which images) of each sample."""
    random = np.random.default_rng(seed)
    for each in range(samples):
        yield each, random.integers(0, size, n)


def _counted(
    prefix: str, of: str, n: int, true: pd.Series, ends: list[pd.DataFrame], methods: dict,
    population: str = "Fashion-MNIST",
) -> list:  # fmt: skip
    """Return a row for each number: how often its interval is given, and then holds the truth."""
    low, high = np.moveaxis(np.array([each.to_numpy(float) for each in ends]), 2, 0)
    given, value = ~np.isnan(low), true.to_numpy(float)
    held = (low <= value + CLOSE) & (value - CLOSE <= high)
    return [
        _row(
            f"{prefix}{name}", of, population, n,
            held[given[:, at], at].mean() if given[:, at].any() else np.nan,
            given[:, at].sum(), given[:, at].mean(), methods.get(name, "percentiles"),
        )
        for at, name in enumerate(true.index)
    ]  # fmt: skip


def _method(metric: str, of: str) -> str:
    if metric == "accuracy":
        return "Clopper-Pearson" if of == "value" else "Bonett-Price"
    none = metric == "mce" or (metric, of) == ("ece_class", "value")
    return "none" if none else "widened" if metric in BIASED else "percentiles"


def _row(quantity, of, population, n, observed, samples, given, method) -> dict:
    error = np.sqrt(observed * (1 - observed) / samples) if samples else 0.0
    numbers = [LEVEL, observed, error, given]
    return dict(zip(COLUMNS, [quantity, of, population, n, *numbers, method], strict=True))


def page(table: pd.DataFrame) -> str:
    """Return the lines of the table in book/metrics_reference.md: the worst case of each size."""
    lines = ["| | interval | n = 50 | n = 200 | n = 1,000 |", "|---|---|---|---|---|"]
    shown = table[table["n"].isin(SIZES)]
    for (quantity, of, method), rows in shown.groupby(["quantity", "of", "method"], sort=False):
        cells = []
        for n in SIZES:
            some = rows[rows["n"] == n]
            seen = some[some["given"] >= 0.2]
            worst = seen["observed"].max() if of == "p-value" else seen["observed"].min()
            blank = "none" if len(some) else ""
            cells.append(f"{worst:.3f}" if len(seen) and not np.isnan(worst) else blank)
        name = f"`{quantity}`" if quantity in METRICS else quantity
        ending = {"value": "", "difference": ", difference", "p-value": ", p ≤ .05"}[of]
        lines.append(f"| {name}{ending} | {method} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=200, help="of each population and size")
    parser.add_argument("--out", type=Path, default=TABLE)
    parser.add_argument(
        "--page", action="store_true", help="print the table of the book, measure nothing"
    )
    args = parser.parse_args()
    if args.page:
        print(page(pd.read_csv(TABLE)), end="")
        return
    quick = [name for name in METRICS if name not in SLOW]
    quick = [
        name
        for name in quick
        if not name.startswith("sac") or name in ("sac90", "sac95", "sac98", "sac99")
    ]
    whole, rows = fashion(), exact()
    duo, large, labels, _ = whole
    populations = {
        "Fashion-MNIST": (duo, large, labels),
        "overconfident": (duo, np.float32(2.5) * large, labels),
        "nearly perfect": nearly_perfect(),
    }
    for n in SIZES:
        for name, population in populations.items():
            if n > 50 or name == "nearly perfect":
                rows += metrics_rows(name, population, n, args.samples, quick)
                pd.DataFrame(rows, columns=COLUMNS).round(4).to_csv(args.out, index=False)
                print(f"{name}, n = {n}: done", flush=True)
    rows += metrics_rows(
        "Fashion-MNIST", populations["Fashion-MNIST"], 200, args.samples // 2, list(SLOW)
    )
    for n in SIZES[1:]:
        rows += test_rows(
            populations["Fashion-MNIST"], n, args.samples, [m for m in quick if m != "sac90"]
        )
        rows += cascade_rows(whole, n, args.samples)
        rows += weight_rows(whole, n, args.samples // 2)
        rows += agreement_rows(whole, n, args.samples // 2)
        rows += trust_rows(whole, n, args.samples // 2)
    rows += alignment_rows(50, args.samples)
    rows += cluster_rows(50, args.samples)
    pd.DataFrame(rows, columns=COLUMNS).round(4).to_csv(args.out, index=False)


if __name__ == "__main__":
    main()
