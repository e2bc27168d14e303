"""The file of a duo: the tensors of both networks and what must be known to build them again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as pack_tensors

KIND = "AsymmetricDuo"
FORMAT = 1


def pack(about: dict[str, Any], tensors: dict[str, torch.Tensor]) -> bytes:
    """Returns the bytes of a safetensors file with these tensors and this metadata.

    Args:
        about: JSON values; the checksum, and what kind of file it is, are added.
        tensors: name -> values; copied, since safetensors refuses tensors that share memory, as
            those of one network used twice do.
    """
    copies = {
        name: values.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, values in tensors.items()
    }
    about = {"kind": KIND, "format": FORMAT} | about
    about["sha256"] = _digest(about, copies)
    return pack_tensors(copies, metadata={"duokit": json.dumps(about)})


def read(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Returns the metadata and the tensors in a file, after verifying all of them.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, not the file of a duo, or of another format version.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            found = (file.metadata() or {}).get("duokit")
            about = json.loads(found) if found else None
            if not isinstance(about, dict) or about.get("kind") != KIND:
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
