"""The duo as one network: a large model, a small one, how each sees a picture, and two weights.

duo = AsymmetricDuo(large, small, fit.weights, members=(Member(...), Member(...)), classes=101)
duo.predict("pictures/").table()
duo.save("duo.safetensors")
AsymmetricDuo.load("duo.safetensors").predict(picture).confidence
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from duokit.logits.validation import valid_class_names
from duokit.models.duo.file import read_duo, write_duo
from duokit.models.duo.member import Member
from duokit.models.duo.pictures import Images, Prepared
from duokit.models.duo.prediction import Prediction, check_finite
from duokit.models.duo.streams import beside, may_run_beside, share_tensors
from duokit.models.inference import layout

ROLES = ("large", "small")
Weights = Sequence[float] | np.ndarray | torch.Tensor


class AsymmetricDuo(nn.Module):
    """Two networks as one: logits = weights[0] * large logits + weights[1] * small logits.

    A member whose weight is exactly 0 is not run at all, and its input may be None. On a CUDA
    device, with gradients off, the members run at the same time, on two streams; members that share
    tensors do not. The weights are a buffer of two float32 values (they move with the module and
    stay float32 in `half()`); change them by `set_weights`, which also decides who runs.

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
        weights: Weights,
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
            weights: two finite numbers, not both 0, such as those of `fit_duo` or `fit_weights`.
            members: the large one's name and preprocessing, and the small one's.
            classes: k, the number of logits of each.
            class_names: k names, if known.
            concurrent: whether CUDA streams may be used; False for members compiled with CUDA
                graphs, which share memory that only one of them may use at a time.

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
        self.concurrent = concurrent and not share_tensors(large, small)
        self.register_buffer("weights", torch.zeros(len(ROLES)))
        self.set_weights(weights)
        self.register_load_state_dict_post_hook(_decide_again)

    def set_weights(self, weights: Weights) -> None:
        """Returns nothing; sets both weights, and which members run.

        Args:
            weights: (2,), the large one's first.

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
            ValueError: other numbers of pictures or classes, or no input for a member that runs.
        """
        if not self.runs[1]:
            return self._part(0, self.large(large_inputs))
        if not self.runs[0]:
            return self._part(1, self.small(small_inputs))
        if large_inputs is None or small_inputs is None:
            raise ValueError("an input is None, and both members run: each needs the pictures")
        if self.concurrent and may_run_beside(large_inputs, small_inputs):
            outputs = beside(self.large, self.small, large_inputs, small_inputs)
        else:
            outputs = self.large(large_inputs), self.small(small_inputs)
        large, small = (self._part(place, each) for place, each in enumerate(outputs))
        if large.shape[0] != small.shape[0]:  # len() would freeze the number in an export
            raise ValueError(
                f"the large member was given {large.shape[0]} pictures, "
                f"the small one {small.shape[0]}"
            )
        return large + small

    def predict(
        self,
        images: Images,
        *,
        rows: Sequence[int] | np.ndarray | None = None,
        batch: int = 32,
        workers: int = 0,
        progress: bool = False,
    ) -> Prediction:
        """Returns the class, the probabilities and the confidence of each of these pictures.

        Each picture is opened once and prepared for each member that runs by its own eval
        transform. The duo is put in eval mode, stays there, and computes on the device where it is;
        the weights of its convolutions are laid out with the channels last.

        Args:
            images: a picture (PIL) or its path; an iterable of both; a folder, of which all
                pictures are taken, also from folders in it, sorted by name; a tensor
                (n, 3, height, width) of bytes, RGB; or an image set. Of many pictures give paths,
                which are opened when it is their turn.
            rows: which of them, by number; all if not given.
            batch: pictures at a time.
            workers: processes that open and prepare pictures; 0 does it here.
            progress: whether to show a progress bar (on the error stream).

        Raises:
            FileNotFoundError: no such file.
            TypeError: something that is not a picture.
            ValueError: no pictures; one that is damaged or has more than 8 bits a channel; logits
                that are not finite.
        """
        pairs = zip(self.members, self.runs, strict=True)
        steps = [member.preprocessing.transform() if runs else None for member, runs in pairs]
        prepared = Prepared(images, rows, steps)
        loader = DataLoader(prepared, batch_size=batch, num_workers=workers)
        # As `duokit.models.predict` lays weights out, so that the same bits come out.
        self.eval().to(memory_format=layout(self.weights.device))  # type: ignore[call-overload]
        with torch.inference_mode():
            pieces = [
                self(*self._placed(inputs)).cpu().numpy()
                for inputs in tqdm(loader, desc="duo", unit="batch", disable=not progress)
            ]
        logits = np.concatenate(pieces)
        check_finite(logits, prepared.ids)
        return Prediction.of(logits, prepared.ids, self.class_names)

    def example_inputs(self, pictures: int, *, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns random inputs for `forward`, with about the values of normalised pictures.

        Args:
            pictures: n.
            seed: of the values.
        """
        generator = torch.Generator().manual_seed(seed)
        sides = [member.preprocessing.resolution for member in self.members]
        made = [torch.randn(pictures, 3, side, side, generator=generator) for side in sides]
        large, small = self._placed(made)
        return large, small

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
        return write_duo(self, path, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> AsymmetricDuo:
        """Returns the duo in a file, on the CPU, in float32 and in eval mode.

        Every tensor is verified against the file's checksum and has its place in the networks.

        Args:
            path: what `save` wrote.

        Raises:
            FileNotFoundError: no such file.
            ValueError: damaged, not a duo, of another format version, or networks that the
                installed timm or torchvision builds otherwise; the text names the file.
        """
        return read_duo(Path(path), cls)

    def extra_repr(self) -> str:
        """Returns what stands beside the two networks when the duo is printed."""
        sizes = ", ".join(f"{m.model} @ {m.preprocessing.resolution} px" for m in self.members)
        return f"{sizes}; weights={self.weights.tolist()}, classes={self.classes}"

    def checked(self, place: int, outputs: torch.Tensor) -> torch.Tensor:
        """Returns a member's outputs as they are.

        Args:
            place: 0 for the large member, 1 for the small one.
            outputs: what it gave.

        Raises:
            ValueError: another shape than (pictures, classes).
        """
        if outputs.ndim != 2 or outputs.shape[1] != self.classes:
            raise ValueError(
                f"the {ROLES[place]} member gives outputs of shape {tuple(outputs.shape)}; "
                f"expected (pictures, {self.classes}): were both members built for the same "
                "classes?"
            )
        return outputs

    def _part(self, place: int, outputs: torch.Tensor) -> torch.Tensor:
        """Returns a member's logits times its weight, (n, k) float32."""
        return self.weights[place] * self.checked(place, outputs).float()

    def _placed(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Returns each member's input on the device, and in the float type, of that member."""
        networks = (self.large, self.small)
        return [each.to(_like(network)) for each, network in zip(inputs, networks, strict=True)]

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> AsymmetricDuo:
        """Returns the duo after to(), half() and the like, which may move but not round weights."""
        exact = self.weights
        super()._apply(fn, recurse)
        if not exact.is_meta:
            self.weights = exact.to(self.weights.device)
        return self


def _like(network: nn.Module) -> torch.Tensor:
    """Returns a tensor of the device and float type that a network computes with."""
    held = chain(network.parameters(), network.buffers())
    return next((each for each in held if each.is_floating_point()), torch.empty(0))


def _decide_again(duo: nn.Module, _: object) -> None:
    """Returns nothing; after load_state_dict, decides who runs by the weights that came in."""
    if isinstance(duo, AsymmetricDuo):
        duo.set_weights(duo.weights)
