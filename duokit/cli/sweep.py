"""`duokit sweep` and `duokit soup`: many runs of one network, and one network made of them."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from duokit.cli.finetune import add_options, add_settings, command, folder_name, task
from duokit.cli.probe import report

if TYPE_CHECKING:
    import torch

    from duokit.images import ImageSet
    from duokit.models.tuning.settings import FineTune
    from duokit.models.tuning.soup import Soup
    from duokit.models.tuning.tuned import Start

BATCH = 128  # images from which BatchNorm statistics are re-estimated at a time


def register(subparsers: Any) -> None:
    """Adds both commands to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "sweep",
        help="fine-tune one network with many learning rates and weight decays",
        description="Draws learning rate and weight decay log-uniformly, fine-tunes once for each "
        "draw, and keeps the best weights of each trial. A sweep that was stopped goes on where it "
        "was; more --trials add to it. `duokit soup` makes records of it.",
    )
    add_settings(parser)
    parser.add_argument("--trials", type=int, default=12, help="in all, as the paper (default: 12)")
    for name, ends in (("lr", (1e-6, 3e-4)), ("weight-decay", (1e-8, 1e-5))):
        parser.add_argument(
            f"--{name}", type=float, nargs=2, default=ends, metavar=("LOW", "HIGH"),
            help=f"ends of the draws (default: {ends[0]:g} {ends[1]:g}, as the paper)",
        )  # fmt: skip
    parser.add_argument("--draw-seed", type=int, default=0, help="seed of the draws (default: 0)")
    parser.add_argument("--no-prune", action="store_true", help="let poor trials end (default: no)")
    add_options(parser)
    parser.set_defaults(run=run_sweep)
    parser = subparsers.add_parser(
        "soup",
        help="make logits: average the runs of a sweep",
        description="Takes the runs of `duokit sweep` with the same settings and writes the "
        "logits of their greedy or uniform soup, or of the best run alone, to "
        "OUT/MODEL-PIXELS-KIND-SEED/PART.safetensors.",
    )
    add_settings(parser)
    parser.add_argument(
        "--kind", choices=("greedy", "uniform", "best"), default="greedy",
        help="which runs: those that do not lower the val score, all, one (default: greedy)",
    )  # fmt: skip
    add_options(parser)
    parser.set_defaults(run=run_soup)


def run_sweep(arguments: argparse.Namespace) -> int:
    """Returns 0 after the last trial and printing what each reached."""
    from duokit.models.tuning.sweep import Space, sweep
    from duokit.models.tuning.tuned import prepare

    settings, image_set, splits = task(arguments)
    space = Space(tuple(arguments.lr), tuple(arguments.weight_decay), arguments.draw_seed)
    where = {"device": arguments.device, "progress": not arguments.quiet}
    start = prepare(image_set, splits, settings, cache=arguments.cache, **where)
    table = sweep(
        start.model,
        start.pixels,
        settings,
        train=start.rows["train"],
        val=start.rows["val"],
        folder=_folder(arguments, image_set, settings),
        trials=arguments.trials,
        space=space,
        prune=not arguments.no_prune,
        **where,
    )
    print(table.drop(columns="folder").to_string(float_format="{:.4g}".format))
    return 0


def run_soup(arguments: argparse.Namespace) -> int:
    """Returns 0 after writing the records and printing what they hold."""
    from duokit.logits import save
    from duokit.models.tuning.soup import reestimate_batchnorm
    from duokit.models.tuning.sweep import ingredients
    from duokit.models.tuning.tuned import network_records, prepare

    settings, image_set, splits = task(arguments)
    where = {"device": arguments.device, "progress": not arguments.quiet}
    out = arguments.out / folder_name(settings, arguments.kind)
    parts = [part for part in splits.parts if part != "train"]
    there = [part for part in parts if (out / f"{part}.safetensors").exists()]
    if there:
        raise ValueError(f"{out / there[0]}.safetensors is there already: choose another --out")
    states, scores = ingredients(_folder(arguments, image_set, settings))
    start = prepare(image_set, splits, settings, probe=False, cache=arguments.cache, **where)
    soup = _soup(arguments.kind, states, scores, start, settings, arguments.device)
    start.model.load_state_dict(soup.state)
    if len(soup.chosen) > 1:
        reestimate_batchnorm(start.model, _training(start))
    config = {
        "command": f"{command(arguments, settings, 'soup')} --kind {arguments.kind}",
        "method": f"{arguments.kind} of {len(states)} fine-tuned networks",
        "val_scores": scores,
        "chosen": list(soup.chosen),
        "val_score": soup.score,
    }
    records = network_records(
        start, image_set, splits, settings, config, dtype=arguments.dtype, **where
    )
    for part in parts:
        report(save(records[part], out / f"{part}.safetensors"), records[part])
    return 0


def _folder(arguments: argparse.Namespace, image_set: ImageSet, settings: FineTune) -> Path:
    runs: Path = arguments.runs
    return runs / f"{image_set.name}-{folder_name(settings, 'sweep')}"


def _training(start: Start) -> Iterator[torch.Tensor]:
    """Yields the training pictures in batches of nearly equal size, none of one picture alone."""
    rows = start.rows["train"]
    for some in rows.chunk(math.ceil(len(rows) / BATCH)):
        yield start.pixels.normalised(start.pixels.values[some])


def _soup(
    kind: str,
    states: list[dict[str, torch.Tensor]],
    scores: list[float],
    start: Start,
    settings: FineTune,
    device: str,
) -> Soup:
    """Returns what is made of the ingredients, the best of which comes first."""
    import torch

    from duokit.models.tuning.finetune import val_scores
    from duokit.models.inference import pick_device, predict
    from duokit.models.tuning.soup import Soup, greedy_soup, reestimate_batchnorm, uniform_soup

    start.model.to(pick_device(device))

    def evaluate(state: dict[str, torch.Tensor]) -> float:
        start.model.load_state_dict(state)
        reestimate_batchnorm(start.model, _training(start))
        val = start.rows["val"]
        logits = predict(start.model, start.pixels, rows=val.numpy(), device=device, progress=False)
        return val_scores(torch.from_numpy(logits), start.pixels.labels[val])[settings.select]

    if kind == "best":
        return Soup(states[0], (0,), scores[0], ())
    if kind == "uniform":
        return uniform_soup(states, evaluate=evaluate)
    return greedy_soup(states, scores, evaluate)
