"""The ledger: each claim of the paper, where it stands, what was measured, and the verdict."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from duokit.claims import on_live, on_printed, on_published
from duokit.claims.finding import UNCHECKED, Finding, condition, verdict
from duokit.logits.files import starts_with, write_whole

COLUMNS = ("claim", "source", "data", "measure", "value", "low", "high", "n", "says", "group")

READ = "The table prints both; that the duo should be the better one is how we read it."


@dataclass(frozen=True)
class Claim:
    """One claim of the paper.

    Attributes:
        name: Short name, in letters and dashes, for commands and links.
        text: The claim in our words, with what we take its adjectives to mean.
        where: Where it stands in the paper (arXiv 2505.18636 v2).
        published: Checks on the authors' tables.
        live: Checks on the committed records; each takes the folder of artifacts.
        missing: Why it cannot be checked, or not in full; "" if it can.
    """

    name: str
    text: str
    where: str
    published: tuple[Callable[[], list[Finding]], ...] = ()
    live: tuple[Callable[[Path], list[Finding]], ...] = ()
    missing: str = ""


CLAIMS: tuple[Claim, ...] = (
    Claim(
        "ten-to-twenty-percent",
        "For 10 to 20 % more FLOPs, accuracy, uncertainty and selective metrics improve.",
        "abstract; Figure 1; section 5",
        (on_published.gains_at_ten_to_twenty_percent, on_published.gains_with_flops_as_run),
        (on_live.gains_at_ten_to_twenty_percent,),
    ),
    Claim(
        "size-of-the-gain",
        "The gain reaches 10 to 15 % of the way to perfect (at least .1 in the best metric).",
        "section 5",
        (on_published.largest_gain,),
    ),
    Claim(
        "no-harm",
        "A sidekick almost never harms (in at most one pair in twenty).",
        "abstract; section 5",
        (on_published.share_of_harm,),
        (on_live.harm,),
    ),
    Claim(
        "accuracy-from-ten-percent",
        "From a FLOPs balance of 10 % on, accuracy improves (in 19 pairs of 20).",
        "section 5; Figures 3 to 6",
        (on_published.accuracy_above_ten_percent,),
    ),
    Claim(
        "better-than-both",
        "The duo is better than either of its members (in 19 pairs of 20).",
        "section 3",
        (on_published.better_than_both,),
        (on_live.better_than_both,),
    ),
    Claim(
        "unweighted",
        "Without weights, averaging collapses for small sidekicks (FLOPs balance up to .05).",
        "section 5; ablation of the weights",
        (on_published.unweighted_at_small_balance,),
        (on_live.unweighted_at_small_balance,),
    ),
    Claim(
        "uq-only",
        "The duo's uncertainty alone, with the large model's answers, is already better.",
        "section 5; ablation of UQ Only",
        (on_published.uq_only,),
        (on_live.uq_only,),
    ),
    Claim(
        "table-1-5-percent",
        "At a FLOPs balance of 5 %, a duo is better than deep ensembles of 2 and of 5.",
        "Table 1, row of MNASNet0.75",
        (partial(on_printed.table_1, "MNASNet0_75"),),
        missing=READ,
    ),
    Claim(
        "table-1-14-percent",
        "At 14 %, a duo is better than deep ensembles of 2 and of 5.",
        "Table 1, row of ShuffleNetV2 2.0x",
        (partial(on_printed.table_1, "ShuffleNet"),),
        missing=READ,
    ),
    Claim(
        "table-1-27-percent",
        "At 27 %, a duo is better than deep ensembles of 2 and of 5.",
        "Table 1, row of EfficientNet-B2",
        (partial(on_printed.table_1, "EfficientNet_B2"),),
        missing=READ,
    ),
    Claim(
        "table-2",
        "At like FLOPs, duos are better than deep ensembles of ResNet-50.",
        "Table 2",
        (on_printed.table_2,),
        missing="The rows beyond two ResNet-50s pair stronger large models, so that they compare "
        "base models as well as methods.",
    ),
    Claim(
        "table-3",
        "Duos of up to two ResNet-50s are better than IVON.",
        "Table 3",
        (on_printed.table_3,),
        missing="IVON was not run here; rows without a printed spread count as exact.",
    ),
    Claim(
        "table-4",
        "Duos are better than temperature scaling and last-layer Laplace.",
        "Table 4",
        (on_printed.table_4,),
        missing="Rows without a printed spread count as exact.",
    ),
    Claim(
        "entropy",
        "Entropy instead of 1 - probability makes no meaningful difference (of .005 AUROC), and "
        "shows the same trends.",
        "appendix C",
        (on_published.entropy_against_response,),
        (on_live.entropy_against_response,),
    ),
    Claim(
        "saturation",
        "Most of the gain is there at a FLOPs balance of 10 to 20 % (.8 of what is above 40 %).",
        "sections 1 and 5",
        (on_published.saturation,),
    ),
    Claim(
        "weights",
        "The smaller the sidekick, the more weight the large model gets, up to 7 times; at like "
        "FLOPs both are trusted alike.",
        "appendix D; Figure 10",
        (on_published.weights_by_balance,),
        (on_live.weights_by_balance,),
        missing="Ratios are relative to the weight that each model needs alone, as the figure's.",
    ),
    Claim(
        "soups",
        "Duos and model soups add up.",
        "section 5; Figure 7",
        (on_published.soups,),
        (on_live.soups,),
        missing="Live soups are those of the sidekick; a soup of large models needs a GPU.",
    ),
    Claim(
        "calibration",
        "The ECE is little changed or better (no more than .005 worse).",
        "section 5",
        (on_published.calibration_error,),
        (on_live.calibration_error,),
    ),
    Claim(
        "shift",
        "Weights fitted without shift still help under shift.",
        "section 5; ImageNet-V2 and iWildCam out of distribution",
        (on_published.shifted,),
        (on_live.shifted,),
    ),
    Claim(
        "val-size",
        "A small validation set suffices for two weights (2,500 images keep .8 of the gain).",
        "section 4: 5 % of ImageNet's validation images",
        live=(on_live.val_size,),
        missing="The published tables hold no logits to fit on.",
    ),
    Claim(
        "useless-sidekick",
        "A useless sidekick can be left out: its weight becomes 0.",
        "section 3.1",
        (on_published.smallest_weight,),
        (on_live.useless_sidekick,),
        missing="The released fit cannot give a weight below .103; duokit's can.",
    ),
    Claim(
        "throughput",
        "FLOPs predict throughput (a straight line explains at least .75 of it).",
        "appendix; Figure 8",
        (on_published.throughput,),
        missing="A duo's throughput is not measured there but added up from its members'.",
    ),
    Claim(
        "seconds",
        "Fitting the weights takes seconds.",
        "section 3.1",
        missing="A time is no number to commit: `python benchmarks/fusion.py` measures it.",
    ),
    Claim(
        "vit-and-resnet34",
        "ViT-B with ResNet-34, the abstract's example.",
        "abstract",
        missing="No result file of the authors has a ResNet-34.",
    ),
)


def findings(artifacts: str | Path = "book/artifacts", *, only: Sequence[str] = ()) -> pd.DataFrame:
    """Return every number behind the verdicts, one row a finding.

    Args:
        artifacts: Folder of the committed records.
        only: Names of claims; all if empty.

    Returns:
        Columns claim, source ("published": the authors' tables; "live": computed here from logits),
        and the attributes of `Finding`.

    Raises:
        ValueError: A name that no claim has.
        FileNotFoundError: A record is missing.
    """
    known = [claim.name for claim in CLAIMS]
    unknown = [name for name in only if name not in known]
    if unknown:
        raise ValueError(f"no claim {unknown[0]!r}; there are {', '.join(known)}")
    rows = []
    for claim in CLAIMS:
        if only and claim.name not in only:
            continue
        checked = [("published", found) for check in claim.published for found in check()]
        checked += [("live", found) for check in claim.live for found in check(Path(artifacts))]
        rows += [{"claim": claim.name, "source": source, **vars(f)} for source, f in checked]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def ledger(found: pd.DataFrame) -> pd.DataFrame:
    """Return one row a claim: the verdicts that the findings add up to.

    Args:
        found: From `findings`; claims without a row there cannot be checked.

    Returns:
        Index claim (its name); columns text, where, published and live (one of
        `duokit.claims.VERDICTS` each), condition (which groups of findings are not all for the
        claim), missing, command.
    """
    rows = {}
    for claim in CLAIMS:
        mine = {
            source: _back(found[(found["claim"] == claim.name) & (found["source"] == source)])
            for source in ("published", "live")
        }
        words = [f"{source}: {text}" for source, f in mine.items() if (text := condition(f))]
        rows[claim.name] = {
            "text": claim.text,
            "where": claim.where,
            **{source: verdict(f) if f else UNCHECKED for source, f in mine.items()},
            "condition": ". ".join(words),
            "missing": claim.missing,
            "command": f"duokit claims --only {claim.name}",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("claim")


def describe(row: pd.Series) -> str:
    """Return a claim and its verdicts as a paragraph of Markdown.

    Args:
        row: Of `ledger`; its name is the claim's.
    """
    lines = [f"**{row.name}**: {row['text']} *({row['where']})*", ""]
    lines += [f"- {source}: **{row[source]}**" for source in ("published", "live")]
    if row["condition"]:
        lines.append(f"- not all for it: {row['condition']}")
    if row["missing"]:
        lines.append(f"- {row['missing']}")
    lines.append(f"- `{row['command']}`")
    return "\n".join(lines)


def save_ledger(found: pd.DataFrame, folder: str | Path) -> tuple[Path, Path]:
    """Return the files findings.csv and ledger.csv that now hold all numbers and all verdicts.

    Numbers have six significant digits. Files that this function wrote are replaced.

    Args:
        found: From `findings`.
        folder: Where to write; made if it is not there.

    Raises:
        FileExistsError: A file of such a name begins with other columns.
    """
    paths = Path(folder) / "findings.csv", Path(folder) / "ledger.csv"
    texts = (
        found.to_csv(index=False, float_format="%.6g", lineterminator="\n"),
        ledger(found).to_csv(lineterminator="\n"),
    )
    for path, text in zip(paths, texts, strict=True):
        head = text[: text.index("\n") + 1].encode()
        if os.path.lexists(path) and not starts_with(path, head):
            raise FileExistsError(f"{path} is no ledger of claims: choose another folder")
    for path, text in zip(paths, texts, strict=True):
        write_whole(path, text.encode(), overwrite=True)
    return paths


def _back(rows: pd.DataFrame) -> list[Finding]:
    names = [name for name in COLUMNS if name not in ("claim", "source")]
    return [Finding(*row) for row in rows[names].itertuples(index=False)]
