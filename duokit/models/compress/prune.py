"""Zeros in place of the smallest weights of a network, and training that keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.utils import prune

from duokit.models.build import head

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def weighted(model: nn.Module) -> list[nn.Module]:
    """Returns the convolutions and linear layers of a network."""
    return [module for module in model.modules() if isinstance(module, LAYERS)]


def prunable(model: nn.Module) -> list[nn.Module]:
    """Returns the layers whose weights are pruned: `weighted` without the head.

    A head that began as a linear probe has far smaller weights than the rest, so that one threshold
    for all would empty it: 94 % of the head of Lite0, fine-tuned on Caltech-101, at half of all.
    """
    layers = weighted(model)
    try:
        _, last = head(model)
    except ValueError:  # no linear head
        return layers
    return [layer for layer in layers if layer is not last]


def prune_weights(model: nn.Module, sparsity: float) -> None:
    """Returns nothing; this share of the model's weights is now 0, the smallest ones in magnitude.

    One threshold holds for all layers but the head, which stays whole (see `prunable`), as do
    biases and normalisation. The arithmetic stays dense: as long as zeros are multiplied like other
    numbers, nothing runs faster.

    Args:
        model: a network, changed in place.
        sparsity: share of the weights of all layers but the head, at least 0, below 1.

    Raises:
        ValueError: a sparsity out of range, or a model without such layers.

    Source: global magnitude pruning, arXiv 2003.03033; done by torch.nn.utils.prune.
    """
    layers = prunable(model)
    if not 0 <= sparsity < 1 or not layers:
        raise ValueError(
            f"sparsity is {sparsity} and the network has {len(layers)} layers with weights to "
            "prune; expected 0 or more and below 1, and at least one layer"
        )
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    weights = [(layer, "weight") for layer in layers]  # torch prunes contiguous ones alone
    prune.global_unstructured(weights, prune.L1Unstructured, amount=float(sparsity))
    for layer, name in weights:
        prune.remove(layer, name)


@contextmanager
def zeros_kept(model: nn.Module) -> Iterator[None]:
    """Yields; whatever trains the model meanwhile, weights that are 0 now or later stay 0.

    Their gradients are set to 0, and what gradient descent, momentum, Adam or weight decay make of
    a weight and a gradient of 0 is 0. So neither the loop nor a checkpoint needs to know of it.

    Args:
        model: a network; the weights of `prunable` are meant.
    """

    def hook_of(weight: torch.Tensor) -> torch.utils.hooks.RemovableHandle:
        # Read when it is called: by then the weight may be on another device, or be loaded anew.
        return weight.register_hook(lambda gradient: gradient * (weight.detach() != 0))

    hooks = [hook_of(layer.weight) for layer in prunable(model)]  # type: ignore[arg-type]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
