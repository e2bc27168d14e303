"""A zoo: the networks that a book or a study wants, as a TOML file says, and what each costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from duokit.images import NAMES
from duokit.images.splits import FOLDS
from duokit.logits import listing, read_metadata
from duokit.models.cost import cost
from duokit.models.tuning.methods import Method
from duokit.models.tuning.settings import FineTune, check_values, from_dict, read_toml
from duokit.models.tuning.souped import KINDS
from duokit.models.tuning.space import Search, read_search

COLUMNS = ("epochs", "steps", "minutes", "machine", "best_epoch", "checkpoint")


@dataclass(frozen=True)
class Wanted:
    """One folder of records of a zoo.

    Attributes:
        data: name of the data set.
        settings: how the network is trained, the resolution settled.
        what: "finetuned" or "scratch" for the network itself, the name of the method, or a kind of
            soup of KINDS.
        method: how the trained network is asked for these records; None for its logits.
        search: how the sweep is run whose runs the soup is made of; None where there is none.
        first: settings of the run that a second stage goes on from; None where there is none.
        keep: names of the parts whose records are wanted; None for all but "train".
    """

    data: str
    settings: FineTune
    what: str
    method: Method | None = None
    search: Search | None = None
    first: FineTune | None = None
    keep: tuple[str, ...] | None = None

    @property
    def folder(self) -> str:
        """Folder of all records of a kind on the same splits, DATA-finetuned or DATA-second.

        With folds, one below it for each, such as DATA-finetuned/fold-0.
        """
        kind = "finetuned" if self.settings.stage == "plain" else "second"
        fold = "" if self.settings.fold is None else f"/fold-{self.settings.fold}"
        return f"{self.data}-{kind}{fold}"

    @property
    def name(self) -> str:
        """Folder of these records, such as caltech101-finetuned/MODEL-PIXELS-WHAT-SEED."""
        return f"{self.folder}/{self.settings.folder(self.what)}"

    @property
    def runs(self) -> int:
        """How often a network is trained for these records and no others of the zoo.

        Methods ask a network that is wanted for itself; the soups of a sweep share its runs, which
        count for the first kind.
        """
        if self.search is not None:
            return self.search.trials if self.what == KINDS[0] else 0
        return int(self.what == self.settings.trained)

    def parts(self, artifacts: Path) -> list[str]:
        """Returns the names of the records that are there."""
        return sorted(path.stem for path in (artifacts / self.name).glob("*.safetensors"))

    def work(self) -> float:
        """Returns multiply-adds of all its training for one training image, over all epochs.

        A backward pass costs two forward passes.
        """
        size = self.settings.resolution
        assert size is not None  # settled
        return 3.0 * cost(self.settings.model, size).flops * self.settings.epochs * self.runs


def read_zoo(path: Path) -> list[Wanted]:
    """Returns what a zoo file wants, in its order.

    A table with the name of a data set holds settings of `duokit.models.tuning.settings.FineTune`
    for all of its networks. Each [[network]] holds `data`, further settings, `seeds` (a list, [0]
    if not given), `folds` (how many, for data sets with folds) and `methods` (tables with the
    values of `duokit.models.tuning.methods.Method`: more records of the first seed's network). One
    that holds `sweep`, a table as in a settings file (`duokit.models.tuning.space.Search`), wants
    the best run of the sweep and its soups instead. One that holds `second`, a list of tables of
    settings with a stage, wants what becomes of each seed's network in a second stage; a list of
    alphas is one run each. `keep` lists the parts whose records are wanted, if not all.

    Args:
        path: TOML file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no TOML, an unknown table, data set, method or setting, or the same network
            twice.
        TypeError: a value of another type.
    """
    found = read_toml(path)
    unknown = set(found) - {*NAMES, "network"}
    if unknown:
        raise ValueError(
            f"{path}: no table {sorted(unknown)[0]!r}; expected [[network]] or one of "
            f"{', '.join(NAMES)}"
        )
    tables = found.get("network", [])
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
        raise ValueError(f"{path}: network is {tables!r}; expected tables [[network]]")
    for name in found.keys() & {*NAMES}:
        if not isinstance(found[name], dict):
            raise ValueError(f"{path}: {name} is {found[name]!r}; expected a table [{name}]")
    if not tables:
        raise ValueError(f"{path} wants nothing: write a table [[network]] with data and model")
    wanted: list[Wanted] = []
    for number, table in enumerate(tables, start=1):
        data = table.get("data")
        try:
            if data not in NAMES:
                raise ValueError(f"data is {data!r}; expected one of {', '.join(NAMES)}")
            values = {**found.get(data, {}), **table}
            del values["data"]
            wanted += _networks(data, values)
        except (ValueError, TypeError) as problem:
            kind = ValueError if isinstance(problem, ValueError) else TypeError
            raise kind(f"{path}: network {number}: {problem}") from problem
    names = [each.name for each in wanted]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"{path}: {twice} is there twice")
    return wanted


def trained(folder: str | Path) -> pd.DataFrame:
    """Returns what has been trained, from the records under a folder: one row a network.

    Args:
        folder: with folders of records, such as the book's artifacts.

    Returns:
        Index data (the data set, with the fold) and network (folder of its records); columns
        epochs, steps, minutes, machine, best_epoch and checkpoint (SHA-256 of the weights). Linear
        probes, soups, second stages, compressed networks and other ways to ask one are left out.

    Raises:
        NotADirectoryError: the folder does not exist or is a file.
    """
    rows = {}
    for path in listing(folder).query("problem == ''")["path"]:
        about = read_metadata(Path(folder) / path)
        config = about["config"]
        if (
            "history" not in config
            or config.get("prediction", {}).get("method", "plain") != "plain"
        ):
            continue
        if config["settings"].get("stage", "plain") != "plain" or "compressed_from" in config:
            continue
        *above, network = Path(path).parent.parts
        rows[" ".join(above).replace("-finetuned", "").replace("-", " "), network] = {
            "epochs": config["settings"]["epochs"],
            "steps": config["history"][-1]["step"],
            "minutes": config["seconds"] / 60,
            "machine": config["machine"],
            "best_epoch": config["best_epoch"],
            "checkpoint": config["checkpoint_sha256"],
        }
    index = pd.MultiIndex.from_tuples(list(rows), names=["data", "network"])
    return pd.DataFrame(list(rows.values()), index=index, columns=list(COLUMNS))


def _networks(data: str, values: Mapping[str, Any]) -> Iterator[Wanted]:
    """Yields what a table wants: for each fold and seed a network and its methods, or soups."""
    settings = {"seeds": [0], **values}
    seeds, folds = _listed(settings, "seeds", int), settings.pop("folds", None)
    methods, sweep = _listed(settings, "methods", dict), settings.pop("sweep", None)
    second = [each for table in _listed(settings, "second", dict) for each in _stages(table)]
    keep = tuple(_listed(settings, "keep", str)) or None
    if folds not in (None, FOLDS):
        raise ValueError(f"folds is {folds!r}; expected {FOLDS}, or none")
    if not isinstance(sweep, dict | None):
        raise TypeError(f"sweep is {sweep!r}; expected a table")
    search = None if sweep is None else read_search(None, **sweep)
    asked = [_method(table) for table in methods]
    for fold in [None] if folds is None else range(folds):
        for seed in seeds:
            made = from_dict(settings | {"seed": seed, "fold": fold}).settled()
            if search is not None:
                yield from (Wanted(data, made, kind, search=search) for kind in KINDS)
                continue
            if second:
                later = [made.replace(**changes) for changes in second]
                for each in later:
                    yield Wanted(data, each, each.trained, first=made, keep=keep)
                continue
            yield Wanted(data, made, made.trained, keep=keep)
            if seed == seeds[0]:
                yield from (Wanted(data, made, each.name, method=each) for each in asked)


def _listed(settings: dict[str, Any], name: str, kind: type) -> list[Any]:
    """Returns the list of this name, which is taken out of the settings; [] if it is not there."""
    values = settings.pop(name, [])
    if not isinstance(values, list) or not all(type(each) is kind for each in values):
        what = {int: "whole numbers", str: "texts", dict: "tables"}[kind]
        raise TypeError(f"{name} is {values!r}; expected a list of {what}")
    return values


def _method(table: Mapping[str, Any]) -> Method:
    """Returns the method of a table."""
    check_values(Method, table)
    return Method(**table)


def _stages(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the settings that a table of a second stage changes; a list of alphas, one each."""
    changes = dict(table)
    alphas = changes.pop("alpha", None)
    if not isinstance(alphas, list):
        return [dict(table)]
    return [changes | {"alpha": alpha} for alpha in alphas]
