"""The file of a duo: the tensors of both networks and what must be known to build them again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as pack_tensors

from duokit.logits import versions
from duokit.logits.files import write_whole
from duokit.models.duo.member import Member

if TYPE_CHECKING:  # the module imports this file
    from duokit.models.duo.module import AsymmetricDuo

KIND = "AsymmetricDuo"
CASCADED = "CascadedDuo"
FORMAT = 1
SUFFIX = ".safetensors"


def metadata(duo: AsymmetricDuo) -> dict[str, Any]:
    """Returns all that is not a network, as JSON values: members, classes, names, weights."""
    return {
        "members": [member.as_dict() for member in duo.members],
        "classes": duo.classes,
        "class_names": None if duo.class_names is None else list(duo.class_names),
        "weights": duo.weights.tolist(),
        "versions": versions(),
    }


def write_duo(
    duo: AsymmetricDuo,
    path: str | Path,
    *,
    overwrite: bool = False,
    cascade: dict[str, float] | None = None,
) -> Path:
    """Returns the path of the file that now holds the duo; what `AsymmetricDuo.save` does.

    Tensors are copied first: safetensors refuses those that share memory, as the tensors of one
    network used twice do.

    Args:
        duo: both networks and their weights.
        path: as for `AsymmetricDuo.save`.
        overwrite: whether an existing file may be replaced.
        cascade: what a `CascadedDuo` holds besides; its file is no plain duo.

    Raises:
        FileExistsError, ValueError: as `AsymmetricDuo.save`.
    """
    path = with_suffix(path, SUFFIX)
    for role, network, member in zip(
        ("large", "small"), (duo.large, duo.small), duo.members, strict=True
    ):
        try:
            member.check(network, duo.classes)
        except ValueError as error:
            raise ValueError(f"the {role} member cannot be saved: {error}") from error
    tensors = {
        name: values.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, values in duo.state_dict().items()
    }
    about = {"kind": KIND, "format": FORMAT} | metadata(duo)
    if cascade is not None:
        about |= {"kind": CASCADED, "cascade": cascade}
    about["sha256"] = _digest(about, tensors)
    raw = pack_tensors(tensors, metadata={"duokit": json.dumps(about)})
    return write_whole(path, raw, overwrite=overwrite)


def read_duo(path: Path, kind: type[AsymmetricDuo]) -> AsymmetricDuo:
    """Returns the duo in a file, in eval mode; what `AsymmetricDuo.load` does.

    Raises:
        FileNotFoundError, ValueError: as `AsymmetricDuo.load`.
    """
    return _built(path, *_verified(path, KIND), kind)


def read_cascade(path: Path, kind: type[AsymmetricDuo]) -> tuple[AsymmetricDuo, dict[str, Any]]:
    """Returns the duo in the file of a cascaded duo, and what that holds besides.

    Raises:
        FileNotFoundError, ValueError: as `CascadedDuo.load`.
    """
    about, tensors = _verified(path, CASCADED)
    return _built(path, about, tensors, kind), about["cascade"]


def _built(
    path: Path,
    about: dict[str, Any],
    tensors: dict[str, torch.Tensor],
    kind: type[AsymmetricDuo],
) -> AsymmetricDuo:
    """Returns the duo that metadata and tensors describe; an error names the file."""
    try:
        large, small = (Member.from_dict(values) for values in about["members"])
        given = {name: about[name] for name in ("weights", "classes", "class_names")}
        classes = given["classes"]
        duo = kind(large.build(classes), small.build(classes), members=(large, small), **given)
        duo.load_state_dict(tensors, strict=True)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        first = "; ".join(str(error).splitlines()[:2])[:300]  # torch lists every tensor
        raise ValueError(
            f"{path}, made with {about.get('versions')}, does not fit the networks it names: "
            f"{first}"
        ) from error
    return duo.eval()


def with_suffix(path: str | Path, suffix: str) -> Path:
    """Returns the path, the suffix added if it has none.

    Args:
        path: file name.
        suffix: with its dot.

    Raises:
        ValueError: another suffix.
    """
    path = Path(path)
    path = path if path.suffix else path.with_name(path.name + suffix)
    if path.suffix != suffix:
        raise ValueError(f"{path} does not end in {suffix}")
    return path


def _verified(path: Path, kind: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Returns the metadata and the tensors in a file, both verified against the checksum in it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get("duokit")
            about = json.loads(found) if found else None
            if isinstance(about, dict) and {kind, about.get("kind")} == {KIND, CASCADED}:
                raise ValueError(f"it holds a {about['kind']}: load it by {about['kind']}.load")
            if not isinstance(about, dict) or about.get("kind") != kind:
                raise ValueError("it is no duo (the weights of one network, or logits, perhaps)")
            if about.get("format") != FORMAT:
                raise ValueError(f"its format is {about.get('format')}, not {FORMAT}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} cannot be loaded as a duo: {error}") from error
    stated = about.pop("sha256", None)
    digest = _digest(about, tensors)
    if stated != digest:
        raise ValueError(
            f"{path} is damaged: its checksum is {digest[:12]}..., the file says "
            f"{str(stated)[:12]}...; fetch another copy"
        )
    return about, tensors


def _digest(about: dict[str, Any], tensors: dict[str, torch.Tensor]) -> str:
    """Returns the SHA-256 of the metadata and of every tensor with its name, type and shape."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name in sorted(tensors):
        values = tensors[name]
        digest.update(f"\n{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
