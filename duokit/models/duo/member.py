"""A member of a duo: what must be known of a network to build it again and to use it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from duokit.models.build import Source, build
from duokit.models.cost import skeleton
from duokit.models.transforms import Preprocessing, preprocessing


@dataclass(frozen=True)
class Member:
    """What must be known of a network to build it again, empty, and to show it a picture.

    Attributes:
        model: its name, as for `build`; where timm and torchvision share a name, torchvision's
            needs the prefix ("torchvision:resnet50").
        preprocessing: its eval transform, resolution included.
    """

    model: str
    preprocessing: Preprocessing

    @classmethod
    def of(cls, model: str, resolution: int | None = None) -> Member:
        """Returns the member that sees pictures by its own convention, at this resolution.

        Args:
            model: its name, as for `build`.
            resolution: side of the input in pixels; the network's own if not given.

        Raises:
            ValueError: as `duokit.models.preprocessing`.
        """
        return cls(model, preprocessing(model, resolution))

    def build(self, classes: int, *, pretrained: Source | None = None) -> nn.Module:
        """Returns the network with a head of `classes` outputs, its weights random if not named.

        Args:
            classes: k.
            pretrained: as for `duokit.models.build`.

        Raises:
            ValueError, FileNotFoundError, ConnectionError: as `duokit.models.build`.
        """
        size = self.preprocessing.resolution
        return build(self.model, classes=classes, pretrained=pretrained, resolution=size)

    def check(self, network: nn.Module, classes: int) -> None:
        """Returns nothing if `build` gives a network with the same tensors as this one.

        Raises:
            ValueError: another network, whose tensors could not be loaded into what is built.
        """
        again = skeleton(self.model, classes=classes, resolution=self.preprocessing.resolution)
        shapes, wanted = (
            {name: tuple(values.shape) for name, values in each.state_dict().items()}
            for each in (network, again)
        )
        if type(network) is type(again) and shapes == wanted:
            return
        differing = sorted(name for name, _ in shapes.items() ^ wanted.items())
        where = f", at {differing[0]!r} first" if differing else ""
        raise ValueError(
            f"the network is not what {self.model!r} builds for {classes} classes at "
            f"{self.preprocessing.resolution} px: {_kind(network)} and {_kind(again)} differ"
            f"{where}. torchvision's networks need their prefix, as in 'torchvision:resnet50'; "
            "a compiled network is saved as it was before"
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns the values for a file; `from_dict` takes them back."""
        return {"model": self.model, "preprocessing": self.preprocessing.as_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Member:
        """Returns the member that `as_dict` described.

        Raises:
            KeyError, TypeError: values that are missing or of another kind.
        """
        given = {item.name: values["preprocessing"][item.name] for item in fields(Preprocessing)}
        given |= {name: tuple(given[name]) for name in ("mean", "std")}
        return cls(values["model"], Preprocessing(**given))


def _kind(network: nn.Module) -> str:
    return f"{type(network).__module__.split('.')[0]}.{type(network).__name__}"
