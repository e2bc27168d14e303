"""`duokit sweep` and `duokit soup`: many runs of one network, and one network made of them."""

from __future__ import annotations

import argparse
import shlex
import time
from typing import TYPE_CHECKING, Any

from duokit.cli.finetune import add_options, add_settings, command, run_folder, task
from duokit.cli.keeping import report
from duokit.cli.options import real, seed, whole

if TYPE_CHECKING:
    from duokit.models.tuning.space import Search


def register(subparsers: Any) -> None:
    """Adds both commands to the parser of `duokit`."""
    parser = subparsers.add_parser(
        "sweep",
        help="fine-tune one network with many learning rates and weight decays",
        description="Draws learning rate and weight decay log-uniformly, fine-tunes once for each "
        "draw, and keeps the best weights of each trial and its logits on val. A sweep that was "
        "stopped goes on where it was; more --trials add to it. The settings file may hold the "
        "options up to --gpus in a table [sweep] (draw-seed as seed). `duokit soup` makes records "
        "of it.",
    )
    add_settings(parser)
    parser.add_argument("--trials", type=whole(), help="in all (default: 12, as the paper)")
    for name, ends in (("lr", "1e-6 3e-4"), ("weight-decay", "1e-8 1e-5")):
        parser.add_argument(
            f"--{name}", type=real(0), nargs=2, metavar=("LOW", "HIGH"),
            help=f"ends of the draws (default: {ends}, as the paper)",
        )  # fmt: skip
    parser.add_argument("--draw-seed", dest="draws", type=seed, help="of the draws (default: 0)")
    parser.add_argument(
        "--no-prune", dest="prune", action="store_false", default=None,
        help="let trials end that are below the median of four others (default: stop them)",
    )  # fmt: skip
    parser.add_argument(
        "--searcher", choices=("optuna", "ray", "random"),
        help="who runs the trials: optuna and random one after the other, ray side by side on "
        "this machine or a cluster (default: optuna, or random if that is not installed)",
    )  # fmt: skip
    parser.add_argument("--cpus", type=real(0), help="of a trial, with ray (default: 1)")
    parser.add_argument(
        "--gpus", type=real(0, ends="[)"), help="of a trial, with ray (default: 1 if any)"
    )
    parser.add_argument(
        "--budget-minutes",
        type=real(0, ends="[)"),
        help="stop with a checkpoint after so long (default: never)",
    )
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
    """Returns 0 after the last trial, 1 when the budget ended before; prints what each reached."""
    from duokit.models.tuning.space import read_search
    from duokit.models.tuning.sweep import results, sweep
    from duokit.models.tuning.tuned import prepare

    minutes = arguments.budget_minutes
    until = None if minutes is None else time.monotonic() + 60 * minutes
    search = read_search(arguments.settings, **_given(arguments))
    settings, image_set, splits = task(arguments)
    where = {"device": arguments.device, "progress": not arguments.quiet}
    start = prepare(image_set, splits, settings, cache=arguments.cache, **where)
    folder = run_folder(arguments.runs, image_set, settings, "sweep")
    words = f"{command(arguments, settings, 'sweep')} {_words(search)}"
    code = 0
    try:
        sweep(
            start, image_set, splits, settings, folder, search=search, command=words, until=until,
            **where,
        )  # fmt: skip
    except TimeoutError as stopped:
        print(f"{stopped}: type the command again to go on")
        code = 1
    table = results(folder).drop(columns="folder")
    print(table.to_string(float_format="{:.4g}".format))
    return code


def run_soup(arguments: argparse.Namespace) -> int:
    """Returns 0 after writing the records and printing what they hold."""
    from duokit.logits import save
    from duokit.models.tuning.souped import soup_records
    from duokit.models.tuning.tuned import prepare

    settings, image_set, splits = task(arguments)
    where = {"device": arguments.device, "progress": not arguments.quiet}
    out = arguments.out / settings.folder(arguments.kind)
    parts = [part for part in splits.parts if part != "train"]
    there = [part for part in parts if (out / f"{part}.safetensors").exists()]
    if there:
        raise ValueError(f"{out / there[0]}.safetensors is there already: choose another --out")
    folder = run_folder(arguments.runs, image_set, settings, "sweep")
    start = prepare(image_set, splits, settings, probe=False, cache=arguments.cache, **where)
    records = soup_records(
        start, image_set, splits, settings, folder, kind=arguments.kind, dtype=arguments.dtype,
        command=f"{command(arguments, settings, 'soup')} --kind {arguments.kind}", **where,
    )  # fmt: skip
    for part in parts:
        report(save(records[part], out / f"{part}.safetensors"), records[part])
    for each in records["val"].config["ingredients"]:
        print(_line(each))
    return 0


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the words of the command line that come before the table [sweep]."""
    names = ("trials", "lr", "weight_decay", "prune", "searcher", "cpus", "gpus")
    given = {name: getattr(arguments, name) for name in names} | {"seed": arguments.draws}
    return {name: value for name, value in given.items() if value is not None}


def _words(search: Search) -> str:
    """Returns the words of the command line that change what a sweep draws."""
    from duokit.models.tuning.space import Space

    space, plain = search.space, Space()
    decay = space.weight_decay
    words = ["--trials", search.trials]
    words += ["--lr", *space.lr] if space.lr != plain.lr else []
    words += ["--weight-decay", *decay] if decay != plain.weight_decay else []
    words += ["--draw-seed", space.seed] if space.seed != plain.seed else []
    words += [] if search.prune else ["--no-prune"]
    return shlex.join(map(str, words))


def _line(each: dict[str, Any]) -> str:
    """Returns what an ingredient was and did, in one line."""
    text = (
        f"trial {each['trial']}: lr {each['lr']:.3g}, weight decay {each['weight_decay']:.3g}, "
        f"val {each['val_score']:.4f}, {'accepted' if each['accepted'] else 'left out'}"
    )
    return text if each["change"] is None else f"{text}, changes the soup by {each['change']:+.4f}"
