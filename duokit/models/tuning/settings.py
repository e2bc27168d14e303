"""How a network is fine-tuned: every number of it, from a TOML file, checked before it runs."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from duokit.images.splits import FOLDS
from duokit.models.build import Source


@dataclass(frozen=True)
class FineTune:
    """How a network is fine-tuned. The defaults are the paper's for Caltech-256, but for batchnorm.

    The paper (arXiv 2505.18636, appendix A.2) draws lr from 1e-6 ... 3e-4 and weight decay from
    1e-8 ... 1e-5; the defaults lie inside. It does not state the warm-up; the released
    configuration has 4 of 20 epochs from a tenth of the rate, and so has this in proportion.

    Attributes:
        model: name of the network, as for `build`.
        resolution: side of the input in pixels; the network's own if None.
        pretrained: where it starts: "auto", "pip", "timm", "torchvision", or "none" (random).
        probe: whether the head starts as the exact linear probe (LP-FT, arXiv 2202.10054) or as
            small random numbers.
        epochs: passes over the training images.
        batch: images of one step, over all devices.
        lr: largest learning rate of AdamW.
        weight_decay: of AdamW, applied to all weights.
        warmup: share of the steps with a rising rate, from a tenth of lr, 0 ... 1; then a cosine
            to 0.
        clip: largest norm of the gradient; None does not clip.
        label_smoothing: 0 ... 1.
        mixup: both parameters of the Beta distribution; 0 does not mix.
        randaugment: random operations a picture gets; 0 for none.
        magnitude: their strength, 0 ... 30.
        flip: whether half of the pictures are mirrored.
        batchnorm: what becomes of BatchNorm's statistics. "frozen" keeps those of the pretrained
            weights; "adapted" estimates them on training pictures before the head is fitted, and
            keeps those; "train", the paper's recipe, keeps them for the probe and then lets each
            step move them, which a run of a few hundred steps or fewer does not survive. "auto"
            tries all three for ten steps and takes the one with the lowest training loss: adapted
            ones, from which "train" then starts too, only if the probe on them knows val no worse.
            If it takes "train", they are estimated again before val is measured.
        select: what val chooses the best epoch by, the probe being epoch 0: "accuracy" or
            "macro_f1"; or "last", the last.
        precision: "bf16", "fp32", or "auto": bf16 on a GPU that has it.
        micro_batch: images at a time on one device, fewer than a batch to save memory; None for
            all. An out-of-memory error halves it.
        compile: whether torch.compile is used; it pays for long runs on a GPU.
        seed: of everything random but the splits.
        split_seed: of the splits.
        fold: which of five folds is test, from 0, for data sets with folds; None for the plain
            splits.
        save_minutes: a checkpoint at least so often, besides one every epoch.
        stage: "plain"; or what is done with a finished run: "gatekeeper" and "continued" go on from
            its weights with the Gatekeeper loss or, to compare, with cross-entropy; "distilled"
            learns its answers. Take select = "last" for gatekeeper, which is meant to give up
            some accuracy: accuracy would choose the epoch that did least.
        builds_on: SHA-256 of that run's weights; None, and then filled in, if plain.
        alpha: weight of the correct part of the Gatekeeper loss, above 0 and below 1.
        divergence: of its wrong part, as for `duokit.cascade.gatekeeper_loss`.
        mean: of its parts, as there.
        distil: weight of the teacher's answers against the labels, 0 ... 1.
        temperature: of both answers in that part, above 0.
    """

    model: str
    resolution: int | None = None
    pretrained: Source | Literal["none"] = "auto"
    probe: bool = True
    epochs: int = 16
    batch: int = 128
    lr: float = 1e-4
    weight_decay: float = 1e-6
    warmup: float = 0.2
    clip: float | None = None
    label_smoothing: float = 0.0
    mixup: float = 0.0
    randaugment: int = 2
    magnitude: int = 9
    flip: bool = True
    batchnorm: Literal["auto", "frozen", "adapted", "train"] = "auto"
    select: Literal["accuracy", "macro_f1", "last"] = "accuracy"
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    micro_batch: int | None = None
    compile: bool = False
    seed: int = 0
    split_seed: int = 0
    fold: int | None = None
    save_minutes: float = 10.0
    stage: Literal["plain", "continued", "gatekeeper", "distilled"] = "plain"
    builds_on: str | None = None
    alpha: float | None = None
    divergence: Literal["to_uniform", "from_uniform"] = "to_uniform"
    mean: Literal["batch", "subset"] = "batch"
    distil: float = 0.5
    temperature: float = 2.0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise ValueError(f"{name} is {value}; expected {low:g} to {high:g}")
        for name, words in _WORDS.items():
            if getattr(self, name) not in words:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; expected one of {', '.join(words)}"
                )
        if (self.stage == "gatekeeper") != (self.alpha is not None):
            raise ValueError(
                f"alpha is {self.alpha} and stage is {self.stage}: a Gatekeeper run needs "
                "stage = gatekeeper and an alpha above 0 and below 1, other runs have none"
            )
        if self.stage in ("gatekeeper", "distilled") and (self.mixup or self.label_smoothing):
            raise ValueError(
                f"stage {self.stage} needs plain labels: set mixup and label_smoothing to 0, not "
                f"{self.mixup:g} and {self.label_smoothing:g}"
            )

    @property
    def source(self) -> Source | None:
        """Where the weights come from, as `build` takes it."""
        return None if self.pretrained == "none" else self.pretrained

    @property
    def measure(self) -> str:
        """What runs are compared by on val: `select`, or the accuracy for "last"."""
        return "accuracy" if self.select == "last" else self.select

    @property
    def starts_trained(self) -> bool:
        """Whether the network knows something before the first step, and may be the best epoch."""
        return bool(self.probe or self.source or self.stage in ("continued", "gatekeeper"))

    @property
    def trained(self) -> str:
        """How it gets its weights, in one word, such as "scratch" from random ones.

        The others are finetuned, continued, distilled, and gatekeeper with its alpha.
        """
        if self.stage == "plain":
            return "finetuned" if self.source else "scratch"
        if self.stage != "gatekeeper":
            return self.stage
        options = (self.divergence, "to_uniform"), (self.mean, "batch")
        return "_".join([f"gatekeeper{self.alpha:g}"] + [a for a, b in options if a != b])

    def settled(self) -> FineTune:
        """Returns the settings with the resolution that the network will have.

        Raises:
            ValueError: an unknown network.
        """
        from duokit.models.transforms import preprocessing

        how = preprocessing(self.model, self.resolution, pretrained=self.source)
        return self.replace(resolution=how.resolution)

    def folder(self, what: str | None = None) -> str:
        """Returns a name for the folder of its records, MODEL-PIXELS-WHAT-SEED, once settled.

        Args:
            what: the kind of record; `trained` if not given.
        """
        bare = self.model.replace(":", "-").replace("/", "-")
        return f"{bare}-{self.resolution}-{what or self.trained}-{self.seed}"

    def replace(self, **changes: Any) -> FineTune:
        """Returns the settings with some values changed, checked like a new one.

        Raises:
            ValueError, TypeError: as `from_dict`.
        """
        return from_dict(asdict(self) | changes)

    def as_dict(self) -> dict[str, Any]:
        """Returns the values for a record or a checkpoint."""
        return asdict(self)


def read_settings(path: str | Path, **changes: Any) -> FineTune:
    """Returns the settings in a TOML file, one `name = value` a line; a table [sweep] may follow.

    Args:
        path: the file.
        **changes: values that come before those of the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no TOML, a name that is not known, or a value out of range.
        TypeError: a value of another type.
    """
    found = read_toml(path)
    try:
        if isinstance(found.get("sweep"), dict):
            del found["sweep"]  # what `read_search` reads
        return from_dict(found | changes)
    except (ValueError, TypeError) as problem:
        kind = TypeError if isinstance(problem, TypeError) else ValueError
        raise kind(f"{path}: {problem}") from problem


def read_toml(path: str | Path) -> dict[str, Any]:
    """Returns what a TOML file holds.

    Args:
        path: the file; a mark of UTF-8 at its begin is passed over.

    Raises:
        FileNotFoundError, IsADirectoryError: no such file, or a folder.
        ValueError: no TOML, or not in UTF-8.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(f"{path} is a folder: give the TOML file in it")
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as problem:
        raise ValueError(
            f"{path} is not in UTF-8 ({problem.reason} at byte {problem.start}): save it as UTF-8"
        ) from problem
    except (tomllib.TOMLDecodeError, RecursionError) as problem:
        raise ValueError(
            f"{path} is no TOML ({problem}): write NAME = VALUE lines, texts in quotation marks"
        ) from problem


def from_dict(values: Mapping[str, Any]) -> FineTune:
    """Returns the settings with these values.

    Raises:
        ValueError: a name that is not known, no model, or a value out of range.
        TypeError: a value of another type.
    """
    check_values(FineTune, values)
    if "model" not in values:
        raise ValueError('no model is named: model = "tf_efficientnet_lite0", say')
    reals = {field.name for field in fields(FineTune) if str(field.type).startswith("float")}
    clean: dict[str, Any] = {
        name: float(value) if name in reals and value is not None else value
        for name, value in values.items()
    }
    return FineTune(**clean)


def check_values(kind: Any, values: Mapping[str, Any]) -> None:
    """Returns nothing if these are values of a dataclass, by their names and types.

    Args:
        kind: the dataclass, with fields of text, numbers and booleans.
        values: name -> value, as a TOML file holds them.

    Raises:
        ValueError: a name that is not known.
        TypeError: a value of another type.
    """
    known = {field.name: str(field.type) for field in fields(kind)}
    for name, value in values.items():
        if name not in known:
            raise ValueError(f"{name!r} is not known; expected some of {', '.join(known)}")
        bare = known[name].removesuffix(" | None")
        allowed = str if "Literal" in bare else _TYPES[bare]
        optional = bare != known[name]
        whole_for_real = allowed is float and type(value) is int
        if not (type(value) is allowed or whole_for_real or (optional and value is None)):
            raise TypeError(f"{name} is {value!r}; expected {allowed.__name__}")


def before_its_time(known: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what settings stood for that a run or a record does not have: it is older than them.

    Args:
        known: the settings that it has.
    """
    return FineTune(known.get("model", "")).as_dict() | {"batchnorm": "train"}


_INFINITE = float("inf")
_RANGES: dict[str, tuple[float, float]] = {
    "resolution": (1, 4096),
    "epochs": (1, 10_000),
    "batch": (1, 2**20),
    "lr": (0, 1),
    "weight_decay": (0, 1),
    "warmup": (0, 1),
    "clip": (1e-12, _INFINITE),
    "label_smoothing": (0, 1),
    "mixup": (0, 100),
    "randaugment": (0, 14),
    "magnitude": (0, 30),
    "micro_batch": (1, 2**20),
    "seed": (0, 2**31),
    "split_seed": (0, 2**31),
    "fold": (0, FOLDS - 1),
    "save_minutes": (0, _INFINITE),
    "alpha": (1e-6, 1 - 1e-6),
    "distil": (0, 1),
    "temperature": (1e-6, 1e6),
}
_WORDS = {
    "pretrained": ("auto", "pip", "timm", "torchvision", "none"),
    "batchnorm": ("auto", "frozen", "adapted", "train"),
    "select": ("accuracy", "macro_f1", "last"),
    "precision": ("auto", "fp32", "bf16"),
    "stage": ("plain", "continued", "gatekeeper", "distilled"),
    "divergence": ("to_uniform", "from_uniform"),
    "mean": ("batch", "subset"),
}
_TYPES: dict[str, type] = {"str": str, "int": int, "float": float, "bool": bool}
