"""From a sweep to the records of its soup."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch

from duokit.images import ImageSet, Splits
from duokit.logits import Record
from duokit.models.inference import pick_device, predict
from duokit.models.tuning.finetune import val_scores
from duokit.models.tuning.settings import FineTune
from duokit.models.tuning.soup import Soup, greedy_soup, reestimate_batchnorm, uniform_soup
from duokit.models.tuning.statistics import shown
from duokit.models.tuning.sweep import Weights, check_about, ingredients
from duokit.models.tuning.tuned import Start, network_records

KINDS = ("greedy", "uniform", "best")


def soup_records(
    start: Start,
    image_set: ImageSet,
    splits: Splits,
    settings: FineTune,
    folder: Path,
    *,
    kind: str = "greedy",
    command: str = "",
    dtype: Literal["float16", "float32"] = "float16",
    device: str = "auto",
    progress: bool = True,
) -> dict[str, Record]:
    """Returns one record a part but training, from the averaged networks of a sweep.

    What counts is `settings.select` on val, of networks whose BatchNorm statistics are
    re-estimated on the training pictures (not if training kept them as they were: then they are
    those that the weights were trained with). A soup of one is that network as it is.

    The config of the records has `val_score`, what the sweep was (`sweep`), and in `ingredients`,
    in the order in which they were tried, each trial's number, lr, weight_decay and val_score,
    whether it was accepted and, for a greedy soup, the score with it (`soup_score`) and how much
    that is above the score without it (`change`).

    Args:
        start: what `prepare` returned, with `probe=False`, say; its network becomes the soup.
        image_set: pictures and labels.
        splits: parts of the set.
        settings: of the sweep; lr and weight_decay do not count.
        folder: of the sweep.
        kind: "greedy", the trials that do not lower the score; "uniform", all complete ones;
            "best", the best one alone.
        command: the command to put into the records.
        dtype: how logits are kept.
        device: "auto", "cpu", "cuda", "mps".
        progress: whether to show progress bars (on the error stream).

    Raises:
        FileNotFoundError: no sweep lies in the folder.
        ValueError: an unknown kind, a sweep of something else, no complete trial; as `greedy_soup`.
    """
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}")
    about = check_about(folder, image_set, splits, settings)
    moves = about.get("batchnorm", settings.batchnorm) == "train"
    states, table = ingredients(folder)
    place = pick_device(device)
    start = replace(start, pixels=start.pixels.near(place))
    start.model.to(place)
    soup = _soup(kind, states, table, start, settings.select, moves)
    if len(soup.chosen) > 1:
        _load(start, soup.state, moves)
        score = soup.score
    else:
        start.model.load_state_dict(soup.state)
        score = float(table["score"].iloc[soup.chosen[0]])
    config = {
        "command": command,
        "method": f"{kind} of {len(states)} fine-tuned networks",
        "sweep": {name: about[name] for name in ("command", "space")},
        "val_score": score,
        "ingredients": _report(soup, table),
    }
    return network_records(
        start, image_set, splits, settings, config, dtype=dtype, device=device, progress=progress
    )


def _soup(
    kind: str, states: Weights, table: pd.DataFrame, start: Start, select: str, moves: bool
) -> Soup:
    """Returns what is made of the ingredients, the best of which comes first."""

    def evaluate(state: dict[str, torch.Tensor]) -> float:
        _load(start, state, moves)
        val = start.rows["val"]
        place = next(start.model.parameters()).device
        logits = predict(start.model, start.pixels, rows=val.numpy(), device=place, progress=False)
        return val_scores(torch.from_numpy(logits), start.pixels.labels[val])[select]

    if kind == "best":
        return Soup(states[0], (0,), None, ())
    if kind == "uniform":
        return uniform_soup(states, evaluate=evaluate)
    return greedy_soup(states, table["score"].tolist(), evaluate)


def _load(start: Start, state: dict[str, torch.Tensor], moves: bool) -> None:
    """Returns nothing; gives the network these weights, and statistics that go with them."""
    start.model.load_state_dict(state)
    if moves:
        place = next(start.model.parameters()).device
        reestimate_batchnorm(start.model, shown(start.pixels, start.rows["train"], place))


def _report(soup: Soup, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Returns what each ingredient was and did, in the order they were tried."""
    tastes = {taste.ingredient: taste for taste in soup.path}
    names = {"lr": "lr", "weight_decay": "weight_decay", "val_score": "score"}
    return [
        {"trial": int(table.index[place])}
        | {name: float(table[column].iloc[place]) for name, column in names.items()}
        | {
            "accepted": place in soup.chosen,
            "soup_score": tastes[place].score if place in tastes else None,
            "change": tastes[place].change if place in tastes else None,
        }
        for place in range(len(table))
    ]
