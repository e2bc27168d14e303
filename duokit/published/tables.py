"""The authors' tables as frames: units said, traps named, costs as charged and as really run."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import pandas as pd

COMMIT = "29a2261ffa486104fb82e1a8f3baef610329f3d5"
SOURCE = (
    f"github.com/TimothyZG/deep-duo-paper, commit {COMMIT[:7]}, evaluation/eval_res; "
    "arXiv 2505.18636 v2, Tables 1-4"
)
# The authors charge this network what it costs at 480 px; their loader runs it at 384 px.
RUN_GFLOPS = {"tf_efficientnetv2_l.in21k_ft_in1k": 35.9}  # as duokit.models.cost counts
LARGE = (
    "ConvNeXt_Base",
    "Swin_V2_B",
    "vit_base_patch16_clip_224.laion2b_ft_in12k_in1k",
    "tf_efficientnetv2_l.in21k_ft_in1k",
)
GIGA = 1e9

Mode = Literal["weighted", "unweighted", "uq_only"]
MODES = ("weighted", "unweighted", "uq_only")
Uncertainty = Literal["softmax_response", "entropy"]
UNCERTAINTIES = ("softmax_response", "entropy")


@dataclass(frozen=True)
class Benchmark:
    """One of the paper's five test sets.

    Attributes:
        title: Its name in plots.
        data: Name of the data set for `duokit.images.load`.
        part: The part of it that is tested: "test" or "shifted".
        classes: k.
        val: Images that the weights were fitted on; of ImageNet-V2 they are ImageNet's.
        test: Images tested.
        headline: The metric that the paper selects by, "accuracy" or "macro_f1".
        final: Whether the tables agree with the camera-ready paper. Where they do not, models were
            tuned again after arXiv v1, and the tables are those of v1.
    """

    title: str
    data: str
    part: Literal["test", "shifted"]
    classes: int
    val: int
    test: int
    headline: Literal["accuracy", "macro_f1"] = "accuracy"
    final: bool = False


BENCHMARKS: dict[str, Benchmark] = {
    "imagenet": Benchmark("ImageNet", "imagenet", "test", 1000, 2500, 47500, final=True),
    "imagenet_v2": Benchmark(
        "ImageNet-V2", "imagenet_v2", "shifted", 1000, 2500, 10000, final=True
    ),
    "iwildcam": Benchmark("iWildCam", "iwildcam", "test", 182, 7314, 8154, "macro_f1"),
    "iwildcam_shifted": Benchmark(
        "iWildCam shifted", "iwildcam", "shifted", 182, 7314, 42791, "macro_f1"
    ),
    "caltech256": Benchmark("Caltech-256", "caltech256", "test", 257, 4591, 4592),
}


def single_models(
    benchmark: str, *, calibrated: bool = True, uncertainty: Uncertainty = "softmax_response"
) -> pd.DataFrame:
    """Return the authors' metrics of each model alone, one row a model.

    Args:
        benchmark: One of BENCHMARKS.
        calibrated: At the model's own temperature, fitted on val; else as it is.
        uncertainty: What ranks the images: 1 - largest probability, or the entropy.

    Returns:
        Index model (the authors' name); columns flops (multiply-adds an image as the authors
        charge them), flops_run (at the resolution really used), parameters, and metrics: accuracy,
        macro_f1, ece, auroc, aurc, e_aurc, sac90 ... sac99 as fractions, nll in nats, brier summed
        over classes and brier_per_class as the authors give it. Models named "_greedy", "_uniform"
        and "_4head" are soups and shallow ensembles.

    Raises:
        ValueError: Another benchmark or uncertainty.
    """
    table = _rows("single_models", benchmark, uncertainty)
    table = table[table["wrapper"] == ("temperature" if calibrated else "none")]
    table = _with_flops(table, {"gflops": "flops"}, table["model"])
    place = list(table.columns).index("params_millions")
    table.insert(place, "parameters", table.pop("params_millions") * 1e6)
    return table.drop(columns=["wrapper"]).set_index("model").sort_values("flops", kind="stable")


def duos(
    benchmark: str, *, mode: Mode = "weighted", uncertainty: Uncertainty = "softmax_response"
) -> pd.DataFrame:
    """Return the authors' metrics of every pair, one row a pair.

    Of mode "weighted", auroc, aurc, e_aurc and sac come from the duo's probability of the LARGE
    model's class, not of the duo's own: `own_class_duos` has the other for most pairs.

    Args:
        benchmark: One of BENCHMARKS.
        mode: "weighted" (the paper's method), "unweighted" (mean of both models at their own
            temperatures) or "uq_only" (class of the large model, uncertainty of the duo).
        uncertainty: What ranks the images: 1 - probability, or the entropy.

    Returns:
        Columns large, small, flops_large, flops_small (multiply-adds an image, as charged),
        flops_balance, flops_balance_run (with the large model at the resolution really used), and
        metrics as in `single_models`.

    Raises:
        ValueError: Another benchmark, mode or uncertainty.
    """
    _check("mode", mode, MODES)
    table = _rows("duos", benchmark, uncertainty)
    return _pairs(table[table["mode"] == mode].drop(columns="mode"))


def own_class_duos(
    benchmark: str, *, uncertainty: Uncertainty = "softmax_response"
) -> pd.DataFrame:
    """Return the weighted duos of an earlier run, uncertainty taken at the duo's OWN class.

    From evaluation/archive of the same repository (April 2025). Where a pair's accuracy and NLL are
    those of `duos`, the two differ by that choice alone.

    Args:
        benchmark: One of BENCHMARKS.
        uncertainty: What ranks the images.

    Returns:
        As `duos`.

    Raises:
        ValueError: Another benchmark or uncertainty.
    """
    return _pairs(_rows("own_class_duos", benchmark, uncertainty).drop(columns="mode"))


def temperatures(benchmark: str) -> pd.DataFrame:
    """Return the fitted values of each pair, recovered from norms of logits that the authors saved.

    Args:
        benchmark: "imagenet", "iwildcam" or "caltech256"; the shifted sets use the same values.

    Returns:
        Columns large, small, flops_balance, divisor_single_large, divisor_single_small (each
        alone), divisor_duo_large, divisor_duo_small (what the released code divides by),
        weight_large and weight_small = 1 / (2 divisor): what multiplies the logits, the paper's T.

    Raises:
        ValueError: Another benchmark.
    """
    table = _table("temperatures")
    _check("benchmark", benchmark, tuple(dict.fromkeys(table["benchmark"])))
    table = table[table["benchmark"] == benchmark].drop(columns="benchmark")
    cost = single_models(benchmark)["flops"]
    balance = table["small"].map(cost) / table["large"].map(cost)
    table.insert(2, "flops_balance", balance)
    return table.reset_index(drop=True)


def deep_ensembles() -> pd.DataFrame:
    """Return ensembles of 1 to 11 fine-tuned ConvNeXt-Base on Caltech-256, not calibrated.

    Returns:
        Columns model, members, uncertainty, metrics as in `single_models`. Not in the paper.
    """
    return _with_brier(_table("deep_ensembles")).drop(columns="benchmark")


def trios() -> pd.DataFrame:
    """Return groups of three on Caltech-256, fitted by the authors on a coarse grid.

    Returns:
        Columns large, median, small, mode ("weighted"; "duo_as_dictator": the class of large and
        median's duo; "uq_only": the class of large), uncertainty, gflops of each, metrics as in
        `single_models`. Not in the paper.
    """
    return _with_brier(_table("trios")).drop(columns="benchmark")


def throughput() -> pd.DataFrame:
    """Return what the authors measured on a V100.

    Returns:
        Index model; columns source ("torchvision" or "timm"), batch (images), latency_seconds (a
        batch), images_per_second.
    """
    return _table("throughput").set_index("model")


def paper_tables() -> pd.DataFrame:
    """Return Tables 1 to 4 as printed in the paper (arXiv v2), in its units.

    Returns:
        Columns paper_table, benchmark, method, flops_balance_percent, and mean and spread ("_sd",
        what the paper prints after its plus-minus) of accuracy_percent, brier_per_class_x1e4,
        nll_x100, ece_percent, auroc_percent, aurc_x100.
    """
    return _table("paper_tables")


def _pairs(table: pd.DataFrame) -> pd.DataFrame:
    table = _with_flops(
        table, {"gflops_large": "flops_large", "gflops_small": "flops_small"}, table["large"]
    )
    run, small = table.pop("flops_run"), table.pop("flops_small")
    table.insert(3, "flops_small", small)
    table.insert(4, "flops_balance", small / table["flops_large"])
    table.insert(5, "flops_balance_run", small / run)
    return table.reset_index(drop=True)


def _with_flops(table: pd.DataFrame, names: dict[str, str], charged: pd.Series) -> pd.DataFrame:
    """Return the table with FLOPs, not GFLOPs, and what the `charged` model costs as it was run."""
    first = next(iter(names))
    place = list(table.columns).index(first)
    run = charged.map(RUN_GFLOPS).fillna(table[first]) * GIGA
    table = table.rename(columns=names)
    for name in names.values():
        table[name] = table[name] * GIGA
    table.insert(place + 1, "flops_run", run)
    return table


def _rows(name: str, benchmark: str, uncertainty: str) -> pd.DataFrame:
    _check("benchmark", benchmark, tuple(BENCHMARKS))
    _check("uncertainty", uncertainty, UNCERTAINTIES)
    table = _table(name)
    chosen = (table["benchmark"] == benchmark) & (table["uncertainty"] == uncertainty)
    found = table[chosen].drop(columns=["benchmark", "uncertainty"])
    return _with_brier(found, BENCHMARKS[benchmark].classes)


def _with_brier(table: pd.DataFrame, classes: int = 257) -> pd.DataFrame:
    """Return the table with the usual Brier score, summed over classes, beside their mean."""
    place = list(table.columns).index("brier_per_class")
    table = table.copy()
    table.insert(place, "brier", table["brier_per_class"] * classes)
    return table


def _check(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{what} is {value!r}; expected one of {', '.join(known)}")


def _table(name: str) -> pd.DataFrame:
    return _read(name).copy()


@lru_cache
def _read(name: str) -> pd.DataFrame:
    table = pd.read_csv(Path(__file__).with_name("data") / f"{name}.csv.gz")
    return table.astype({c: object for c in table.columns if table[c].dtype.kind not in "fiub"})
