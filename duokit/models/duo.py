"""The duo as one network: a large model, a small one, how each sees a picture, and two weights.

duo = AsymmetricDuo(large, small, fit.weights, members=(Member(...), Member(...)), classes=101)
duo.predict(picture).names
duo.save("duo.safetensors")
AsymmetricDuo.load("duo.safetensors").predict(pictures).confidence
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, IterableDataset
from tqdm.auto import tqdm

from duokit.images import ImageSet
from duokit.logits import versions
from duokit.logits.files import write_whole
from duokit.logits.validation import valid_class_names
from duokit.models.duo_file import pack, read
from duokit.models.inference import Pictures
from duokit.models.member import Member

SUFFIX = ".safetensors"
ROLES = ("large", "small")


class Prediction(NamedTuple):
    """What a duo says about n pictures.

    Attributes:
        classes: (n,) int64, the class answered.
        probs: (n, k) float64, the softmax of the duo's logits; float64, so that confidences close
            to 1 still differ.
        confidence: (n,) float64 in 0..1, the probability of the class answered.
        class_names: the k names, or None if the duo does not know them.
    """

    classes: np.ndarray
    probs: np.ndarray
    confidence: np.ndarray
    class_names: tuple[str, ...] | None

    @property
    def names(self) -> list[str]:
        """The name of the class answered, a picture each; its number if names are not known."""
        known = self.class_names
        return [str(row) if known is None else known[row] for row in self.classes]


class AsymmetricDuo(nn.Module):
    """Two networks as one: logits = weights[0] * large logits + weights[1] * small logits.

    A member whose weight is exactly 0 is not run at all, and its input may be None. On a CUDA
    device, with gradients off, the members run at the same time, on two streams. The weights are a
    buffer of two float32 values (they move with the module and stay float32 in `half()`); change
    them by `set_weights`, which also decides who runs.

    Attributes:
        large: the first network.
        small: the second.
        weights: (2,) float32.
        members: how each was named and how it sees a picture.
        classes: k.
        class_names: k names, or None.
        concurrent: whether CUDA streams may be used.

    Source: arXiv 2505.18636, section 3.1; its "temperatures" are what is called weights here.
    """

    weights: torch.Tensor

    def __init__(
        self,
        large: nn.Module,
        small: nn.Module,
        weights: Sequence[float] | np.ndarray | torch.Tensor,
        *,
        members: tuple[Member, Member],
        classes: int,
        class_names: Sequence[str] | None = None,
        concurrent: bool = True,
    ) -> None:
        """Checks and keeps what it is given; nothing is copied.

        Args:
            large: a network from pictures (n, 3, height, width) to logits (n, classes).
            small: another, over the same classes in the same order.
            weights: two finite numbers, not both 0, such as the weights of `fit_weights`.
            members: the large one's name and preprocessing, and the small one's.
            classes: k, the number of logits of each.
            class_names: k names, if known.
            concurrent: whether CUDA streams may be used.

        Raises:
            ValueError: weights that are not two finite numbers or are both 0, not two members, or
                another number of names than classes.
        """
        super().__init__()
        if len(members) != len(ROLES):
            raise ValueError(f"{len(members)} members; a duo has two, (large, small)")
        self.large, self.small = large, small
        self.members = (members[0], members[1])
        self.classes = int(classes)
        self.class_names = valid_class_names(class_names, self.classes)
        self.concurrent = concurrent
        self.register_buffer("weights", torch.zeros(len(ROLES)))
        self.set_weights(weights)
        self.register_load_state_dict_post_hook(_decide_again)

    def set_weights(self, weights: Sequence[float] | np.ndarray | torch.Tensor) -> None:
        """Returns nothing; sets both weights, and which members run.

        Raises:
            ValueError: not two finite numbers, or both 0.
        """
        given = torch.as_tensor(weights, dtype=torch.float64).detach().cpu()
        values = given.float()
        if values.shape != (len(ROLES),) or not values.isfinite().all():
            raise ValueError(f"weights are {given.tolist()}; expected two finite numbers")
        if not values.any():
            raise ValueError(
                "both weights are 0, so no member would run: either is useless for these labels"
            )
        self.weights = values.to(self.weights.device)
        # Plain booleans: looking at the buffer in every call would wait for the GPU.
        self.runs = (bool(values[0] != 0), bool(values[1] != 0))

    def forward(
        self, large_inputs: torch.Tensor | None, small_inputs: torch.Tensor | None
    ) -> torch.Tensor:
        """Returns the duo's logits, (n, k) float32, also under autocast.

        Args:
            large_inputs: (n, 3, height, width), n pictures prepared for the large network.
            small_inputs: the same n pictures, prepared for the small one.

        Raises:
            ValueError: other numbers of pictures or classes.
        """
        if not all(self.runs):
            return self._alone(large_inputs if self.runs[0] else small_inputs)
        both = cast(tuple[torch.Tensor, torch.Tensor], (large_inputs, small_inputs))
        if self.concurrent and _streams_serve(*both):
            large, small = self._beside(*both)
        else:
            large, small = self.large(both[0]), self.small(both[1])
        for role, outputs in zip(ROLES, (large, small), strict=True):
            self._check(role, outputs)
        if large.shape[0] != small.shape[0]:  # len() would freeze the number in an export
            raise ValueError(
                f"the large member was given {large.shape[0]} pictures, "
                f"the small one {small.shape[0]}"
            )
        return self.weights[0] * large.float() + self.weights[1] * small.float()

    def logits(
        self,
        images: ImageSet | Image.Image | Iterable[Image.Image],
        *,
        rows: Sequence[int] | np.ndarray | None = None,
        batch: int = 32,
        workers: int = 0,
        progress: bool = False,
    ) -> np.ndarray:
        """Returns the duo's logits, (n, k) float32, of these pictures in this order.

        Each picture is opened once and prepared for each member that runs by its own eval
        transform. The duo is put in eval mode, stays there, and computes on the device where it is.

        Args:
            images: a picture, any iterable of pictures, or an image set.
            rows: which images of an image set, by number; all if not given.
            batch: pictures at a time.
            workers: processes that read pictures of an image set; 0 reads them here.
            progress: whether to show a progress bar (on the error stream).

        Raises:
            TypeError: something that is not a PIL picture.
            ValueError: no pictures; rows or workers without an image set; a picture with more than
                8 bits a channel; logits that are not finite.
        """
        loader = self._loader(images, rows, batch, workers)
        self.eval()
        pieces = []
        with torch.inference_mode():
            for inputs in tqdm(loader, desc="duo", unit="batch", disable=not progress):
                ready = [
                    each.to(_like(member)) if runs else None
                    for each, member, runs in zip(
                        inputs, (self.large, self.small), self.runs, strict=True
                    )
                ]
                pieces.append(self(*ready).cpu().numpy())
        if not pieces:
            raise ValueError("there are no pictures")
        found = np.concatenate(pieces)
        if not np.isfinite(found).all():
            row = int(np.argwhere(~np.isfinite(found))[0, 0])
            raise ValueError(f"the logits of picture {row} are not finite: did a member diverge?")
        return found

    def predict(
        self,
        images: ImageSet | Image.Image | Iterable[Image.Image],
        *,
        rows: Sequence[int] | np.ndarray | None = None,
        batch: int = 32,
        workers: int = 0,
        progress: bool = False,
    ) -> Prediction:
        """Returns the class, the probabilities and the confidence of each of these pictures.

        Args:
            images: as for `logits`.
            rows: as for `logits`.
            batch: as for `logits`.
            workers: as for `logits`.
            progress: as for `logits`.

        Raises:
            TypeError, ValueError: as `logits`.
        """
        found = self.logits(images, rows=rows, batch=batch, workers=workers, progress=progress)
        probs = torch.from_numpy(found).double().softmax(dim=1).numpy()
        classes = found.argmax(axis=1)
        return Prediction(classes, probs, probs[np.arange(len(probs)), classes], self.class_names)

    def metadata(self) -> dict[str, Any]:
        """Returns all that is not a network, as JSON values: members, classes, names, weights."""
        return {
            "members": [member.as_dict() for member in self.members],
            "classes": self.classes,
            "class_names": None if self.class_names is None else list(self.class_names),
            "weights": self.weights.tolist(),
            "versions": versions(),
        }

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Returns the path of the one safetensors file that now holds the duo, whole or not at all.

        Its tensors are "weights" and those of the networks, named "large..." and "small...".

        Args:
            path: file name; ".safetensors" is added if it has no suffix.
            overwrite: whether an existing file may be replaced.

        Raises:
            FileExistsError: the file exists and overwrite is False.
            ValueError: another suffix, or a member that is not the network its name builds, so
                that the file could not be loaded.
        """
        path = Path(path)
        path = path.with_name(path.name + SUFFIX) if not path.suffix else path
        if path.suffix != SUFFIX:
            raise ValueError(f"{path} does not end in {SUFFIX}")
        for role, member in zip(ROLES, self.members, strict=True):
            try:
                member.check(self.get_submodule(role), self.classes)
            except ValueError as error:
                raise ValueError(f"the {role} member cannot be saved: {error}") from error
        raw = pack(self.metadata(), self.state_dict())
        return write_whole(path, raw, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> AsymmetricDuo:
        """Returns the duo in a file, on the CPU, in float32 and in eval mode.

        Every tensor is verified against the file's checksum and has its place in the networks.

        Raises:
            FileNotFoundError: no such file.
            ValueError: damaged, not a duo, of another format version, or networks that the
                installed timm or torchvision builds otherwise; the text names the file.
        """
        path = Path(path)
        about, tensors = read(path)
        try:
            members = [Member.from_dict(values) for values in about["members"]]
            large, small = (member.build(about["classes"]) for member in members)
            duo = cls(
                large,
                small,
                about["weights"],
                members=(members[0], members[1]),
                classes=about["classes"],
                class_names=about["class_names"],
            )
            duo.load_state_dict(tensors, strict=True)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            first = "; ".join(str(error).splitlines()[:2])[:300]  # torch lists every tensor
            raise ValueError(
                f"{path}, made with {about.get('versions')}, does not fit the networks it names: "
                f"{first}"
            ) from error
        return duo.eval()

    def extra_repr(self) -> str:
        """Returns what stands beside the two networks when the duo is printed."""
        sizes = ", ".join(f"{m.model} @ {m.preprocessing.resolution} px" for m in self.members)
        return f"{sizes}; weights={self.weights.tolist()}, classes={self.classes}"

    def _alone(self, inputs: torch.Tensor | None) -> torch.Tensor:
        """Returns the logits where one member has all the weight."""
        place = self.runs.index(True)
        outputs = self.get_submodule(ROLES[place])(inputs)
        self._check(ROLES[place], outputs)
        return self.weights[place] * cast(torch.Tensor, outputs.float())

    def _beside(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns both members' outputs, computed at the same time on two CUDA streams."""
        here, side = torch.cuda.current_stream(inputs[0].device), _side_stream(inputs[0].device)
        side.wait_stream(here)  # what the small one needs may still be on its way
        large = self.large(inputs[0])  # the longer work starts first
        with torch.cuda.stream(side):
            small = self.small(inputs[1])
        here.wait_stream(side)
        small.record_stream(here)  # its memory belongs to the other stream
        return large, small

    def _check(self, role: str, outputs: torch.Tensor) -> None:
        if outputs.ndim != 2 or outputs.shape[1] != self.classes:
            raise ValueError(
                f"the {role} member gives outputs of shape {tuple(outputs.shape)}; expected "
                f"(pictures, {self.classes}): were both members built for the same classes?"
            )

    def _loader(
        self,
        images: ImageSet | Image.Image | Iterable[Image.Image],
        rows: Sequence[int] | np.ndarray | None,
        batch: int,
        workers: int,
    ) -> DataLoader[Any]:
        steps = [
            member.preprocessing.transform() if runs else None
            for member, runs in zip(self.members, self.runs, strict=True)
        ]
        prepare: Any = _Prepare(steps)
        if isinstance(images, ImageSet):
            chosen = range(len(images)) if rows is None else [int(row) for row in rows]
            data: Any = Pictures(images, chosen, prepare)
        elif rows is not None or workers:
            raise ValueError("rows and workers are for an image set: choose the pictures yourself")
        else:
            data = _Stream([images] if isinstance(images, Image.Image) else images, prepare)
        return DataLoader(data, batch_size=batch, num_workers=workers)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> AsymmetricDuo:
        """Returns the duo after to(), half() and the like, which may move but not round weights."""
        exact = self.weights
        super()._apply(fn, recurse)
        if not exact.is_meta:
            self.weights = exact.to(self.weights.device)
        return self


class _Prepare:
    """From a picture to one input a member; an empty one for a member that does not run."""

    def __init__(self, steps: Sequence[Callable[[Image.Image], torch.Tensor] | None]) -> None:
        self.steps = steps

    def __call__(self, picture: Image.Image) -> tuple[torch.Tensor, ...]:
        return tuple(torch.empty(0) if step is None else step(picture) for step in self.steps)


class _Stream(IterableDataset[tuple[torch.Tensor, ...]]):
    """Pictures that come one after the other, prepared when they are asked for."""

    def __init__(self, pictures: Iterable[Any], prepare: _Prepare) -> None:
        self.pictures, self.prepare = pictures, prepare

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        for place, picture in enumerate(self.pictures):
            if not isinstance(picture, Image.Image):
                kind = type(picture).__name__
                raise TypeError(
                    f"picture {place} is a {kind}; expected a PIL picture (Image.open of a file, "
                    "Image.fromarray of an array of bytes)"
                )
            if picture.mode.startswith(("I", "F")):
                raise ValueError(
                    f"picture {place} has more than 8 bits a channel (mode {picture.mode}), and "
                    "how to bring them to 8 is a choice: convert it first"
                )
            yield self.prepare(picture.convert("RGB"))


def _like(network: nn.Module) -> torch.Tensor:
    """Returns a tensor of the device and float type that a network computes with."""
    held = chain(network.parameters(), network.buffers())
    return next((each for each in held if each.is_floating_point()), torch.empty(0))


def _streams_serve(large_inputs: torch.Tensor, small_inputs: torch.Tensor) -> bool:
    """Returns whether both members may run at once: one GPU, no gradients, nothing traced."""
    same = large_inputs.is_cuda and large_inputs.device == small_inputs.device
    return same and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Returns the same stream each time: memory is kept by stream, and new ones would take more."""
    return torch.cuda.Stream(device)


def _decide_again(duo: nn.Module, _: object) -> None:
    """Returns nothing; after load_state_dict, decides who runs by the weights that came in."""
    if isinstance(duo, AsymmetricDuo):
        duo.set_weights(duo.weights)
