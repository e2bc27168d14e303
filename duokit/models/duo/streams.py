"""Both members of a duo at the same time, on two CUDA streams of one GPU.

A GPU works through a stream in order, and through two streams as it has room. So whatever crosses
from one stream to the other needs a wait, and memory that crosses must not be used again early.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import chain

import torch
from torch import nn

Network = Callable[[torch.Tensor], torch.Tensor]


def beside(
    large: Network, small: Network, large_inputs: torch.Tensor, small_inputs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns both outputs, computed at the same time, ready for the current stream.

    Args:
        large: runs on the current stream, and is started first, since it takes longer.
        small: runs on a stream of its own.
        large_inputs: (n, 3, height, width) on a CUDA device.
        small_inputs: the same n pictures, on the same device.
    """
    device = large_inputs.device
    here, side = torch.cuda.current_stream(device), _side_stream(device)
    side.wait_stream(here)  # the inputs of the small one may still be on their way
    try:
        large_outputs = large(large_inputs)
        with torch.cuda.stream(side):
            small_outputs = small(small_inputs)
    finally:
        # Also after an error: the inputs were allocated here, and once they are freed their memory
        # serves whatever comes next here, which must not begin while the small one reads them.
        here.wait_stream(side)
    # The answer was allocated there, and is read here: the next to use that stream must not get
    # its memory before this one has read it.
    small_outputs.record_stream(here)
    return large_outputs, small_outputs


def may_run_beside(large_inputs: torch.Tensor, small_inputs: torch.Tensor) -> bool:
    """Returns whether two streams can serve: one GPU, no gradients, nothing compiled or exported.

    Args:
        large_inputs: on any device.
        small_inputs: on any device.
    """
    same = large_inputs.is_cuda and large_inputs.device == small_inputs.device
    return same and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def share_tensors(large: nn.Module, small: nn.Module) -> bool:
    """Returns whether two networks have a parameter or a buffer in common.

    Such networks must run one after the other: what one of them writes (statistics of BatchNorm,
    the copies in half precision that autocast keeps) the other would read without waiting.
    """
    held = [
        {id(each) for each in chain(network.parameters(), network.buffers())}
        for network in (large, small)
    ]
    return not held[0].isdisjoint(held[1])


@cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Returns the same stream each time: memory is kept by stream, and new ones would take more."""
    return torch.cuda.Stream(device)
