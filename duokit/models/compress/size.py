"""How small a network is: bytes of a file that holds it, and what zeros could save."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import nn

from duokit.models.compress.prune import prunable, weighted

MASK, KEPT, SHAPE = ".mask", ".kept", ".shape"


def dense_file(model: nn.Module) -> bytes:
    """Returns the network's state as a safetensors file, every number written out."""
    return save({name: each.cpu().contiguous() for name, each in model.state_dict().items()})


def sparse_file(model: nn.Module) -> bytes:
    """Returns the network's state as a safetensors file in which zeros take one bit.

    A tensor is written as one bit a value (is it other than 0?), the other values, and its shape,
    where that is shorter than the tensor itself. `load_sparse` reads it.
    """
    held: dict[str, torch.Tensor] = {}
    for name, each in model.state_dict().items():
        flat = each.detach().cpu().contiguous().flatten()
        there = flat != 0
        parts = {
            name + MASK: torch.from_numpy(np.packbits(there.numpy())),
            name + KEPT: flat[there],
            name + SHAPE: torch.tensor(each.shape, dtype=torch.int64),
        }
        shorter = sum(part.nbytes for part in parts.values()) < flat.nbytes
        held |= parts if shorter else {name: each.detach().cpu().contiguous()}
    return save(held)


def load_sparse(raw: bytes) -> dict[str, torch.Tensor]:
    """Returns the state that `sparse_file` wrote, value by value."""
    held = load(raw)
    state = {name: each for name, each in held.items() if not name.endswith((MASK, KEPT, SHAPE))}
    for name in (name.removesuffix(MASK) for name in held if name.endswith(MASK)):
        shape = held[name + SHAPE].tolist()
        bits = np.unpackbits(held[name + MASK].numpy(), count=int(np.prod(shape)))
        flat = torch.zeros(len(bits), dtype=held[name + KEPT].dtype)
        flat[torch.from_numpy(bits.astype(bool))] = held[name + KEPT]
        state[name] = flat.reshape(shape)
    return state


def sparsity(model: nn.Module) -> float:
    """Returns the share of zeros among the weights that may be pruned (`prunable`), 0 ... 1."""
    weights = [layer.get_parameter("weight") for layer in prunable(model)]
    zeros = sum(int((each == 0).sum()) for each in weights)
    return zeros / sum(each.numel() for each in weights)


def nonzero_flops(model: nn.Module, resolution: int) -> int:
    """Returns the multiply-adds for one image by weights other than 0, which nothing here skips.

    In a convolution a weight is used once at each place of the output; padding is counted, as in
    `duokit.models.cost`, with which a network without zeros agrees (attention is not counted).

    Args:
        model: a network; it is asked about one grey picture, in eval mode.
        resolution: side of the input in pixels.
    """
    total = 0

    def add(layer: nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        weight: torch.Tensor = layer.weight  # type: ignore[assignment]
        places = output.numel() // weight.shape[0]
        total += int(weight.count_nonzero()) * places

    hooks = [layer.register_forward_hook(add) for layer in weighted(model)]
    where = next(model.parameters()).device
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 3, resolution, resolution, device=where))
    finally:
        for hook in hooks:
            hook.remove()
    return total
