"""Learn, check and apply Asymmetric Duos: a large classifier and a small sidekick, two weights.

    images -> models -> logits store -> fusion -> metrics -> plots -> a chapter of the book

Networks turn pictures into logits once; everything right of the logits store takes seconds:

    from duokit import fit_duo, intervals, load

    duo = fit_duo([load("large/val.safetensors"), load("small/val.safetensors")])
    found = duo.answers([load("large/test.safetensors"), load("small/test.safetensors")])
    intervals(found["duo"], found["large"])

With logits of your own in arrays, `sidekick_test`, `fit_weights`, `weighted` and `table_row` are
all it takes. Models and pictures (duokit.models, duokit.images) need the extra `models`.

Source of the method: Zhou, Shelhamer, Pleiss, "Asymmetric Duos: Sidekicks Improve Uncertainty",
NeurIPS 2025, arXiv 2505.18636.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duokit.evaluation import Duo, fit_duo
    from duokit.fusion import combine, fit_weights, sidekick_test, weighted
    from duokit.logits import Record, load, make_record, read_csv, read_npz, save
    from duokit.metrics import intervals, score, table_row

__version__ = "0.1.0"

__all__ = [
    "Record",
    "make_record",
    "save",
    "load",
    "read_npz",
    "read_csv",
    "Duo",
    "fit_duo",
    "sidekick_test",
    "fit_weights",
    "weighted",
    "combine",
    "score",
    "table_row",
    "intervals",
    "__version__",
]

# Imported when they are asked for, so that a command can be stopped from its first moment on.
_PLACES = {
    "evaluation": ("Duo", "fit_duo"),
    "fusion": ("combine", "fit_weights", "sidekick_test", "weighted"),
    "logits": ("Record", "load", "make_record", "read_csv", "read_npz", "save"),
    "metrics": ("intervals", "score", "table_row"),
}


def __getattr__(name: str) -> Any:
    for place, names in _PLACES.items():
        if name == place:
            return import_module(f"duokit.{place}")
        if name in names:
            return getattr(import_module(f"duokit.{place}"), name)
    raise AttributeError(f"module 'duokit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
