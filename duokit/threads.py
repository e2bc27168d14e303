"""Many small pieces of work on every core."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

MOST = 8


def in_threads(work: Callable[[int], Any], size: int, *, most: int = MOST) -> list[Any]:
    """Return [work(0), ..., work(size - 1)], computed side by side.

    One core a piece, not one piece over all cores: the pieces are so small that cores sharing one
    would mostly wait for each other (many times longer than one core alone, on a busy machine).
    NumPy and PyTorch let threads run side by side inside their functions.

    Args:
        work: Called with 0 ... size - 1, each once, from several threads.
        size: How many pieces.
        most: Threads at most, for pieces that need much memory.
    """
    threads = torch.get_num_threads()
    pool_size = max(1, min(threads, most, size))
    spans = [range(first, size, 4 * pool_size) for first in range(min(size, 4 * pool_size))]
    results: list[Any] = [None] * size

    def some(span: range) -> None:
        for i in span:
            results[i] = work(i)

    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(pool_size) as pool:
            list(pool.map(some, spans))  # raises what work raises
    finally:
        torch.set_num_threads(threads)
    return results
