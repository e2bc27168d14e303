"""The Gatekeeper loss: teach a small model to be sure where it is right and unsure where it is not.

    loss = alpha * correct part + (1 - alpha) * wrong part
    correct part = sum over the images answered rightly of the cross-entropy / n
    wrong part   = sum over the others of KL(probs to uniform) / n

It is a second stage: fine-tune the small model as usual, then go on with this loss. Right or wrong
is read from the model's own answer of the moment, anew at every step; the large model plays no part
in it, so one tuned small model serves any large one. No code was released with the paper.

The choice of the two sets is a plain mask, constant between two changes of an answer, so it has no
gradient: all of it flows through the two terms. With H the entropy, KL(probs to uniform) =
log k - H: the wrong part maximises entropy on mistakes. Its slope in the logit z_c is
p_c (log p_c + H), which vanishes where the model is very sure of a mistake; the slope of the
reversed KL is p_c - 1 / k, which does not.
"""

from collections.abc import Callable
from math import log
from typing import Literal, NamedTuple, get_args

import torch

from duokit.checks import check_labels

Divergence = Literal["to_uniform", "from_uniform"]
Mean = Literal["batch", "subset"]


class GatekeeperParts(NamedTuple):
    """The two parts of the loss before alpha weighs them.

    Attributes:
        correct: () nats, of the images that the model answers rightly.
        wrong: () nats, of the others.
        answered: (n,) bool, True where the model's answer is the label; no gradient.
    """

    correct: torch.Tensor
    wrong: torch.Tensor
    answered: torch.Tensor


def gatekeeper_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    alpha: float,
    divergence: Divergence = "to_uniform",
    mean: Mean = "batch",
) -> torch.Tensor:
    """Return the Gatekeeper loss of a batch, ready for `backward`.

    alpha times the cross-entropy of the images answered rightly plus 1 - alpha times the divergence
    from uniform of the others. A small alpha separates right from wrong answers more, at the price
    of the small model's accuracy.

    Convention: both sums are divided by the size of the whole batch, and the divergence is
    KL(probs to uniform), as published. The options are what reproductions do instead, and another
    loss each: see `gatekeeper_parts`.

    Args:
        logits: (n, k) finite floats, with a gradient if it is wanted. Half precision is computed in
            float32.
        labels: (n,) integers 0 ... k - 1.
        alpha: Weight of the correct part, in (0, 1).
        divergence: "to_uniform" (published) or "from_uniform" (reversed).
        mean: "batch" (published) or "subset".

    Returns:
        A tensor without dimensions, in nats; not below 0 but for rounding.

    Raises:
        TypeError: Logits that are no tensor of floats, labels that are no integers.
        ValueError: Other shapes, a label that is no class, alpha outside (0, 1), an unknown option.

    Source: Rabanser et al., arXiv 2502.19335.
    """
    if not 0 < alpha < 1:
        raise ValueError(
            f"alpha must lie in (0, 1), not {alpha}: at 0 nothing keeps the right answers right, "
            "at 1 nothing unlearns the confidence in wrong ones"
        )
    parts = gatekeeper_parts(logits, labels, divergence=divergence, mean=mean)
    return alpha * parts.correct + (1 - alpha) * parts.wrong


def gatekeeper_parts(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    divergence: Divergence = "to_uniform",
    mean: Mean = "batch",
) -> GatekeeperParts:
    """Return the correct and the wrong part of the loss, to be watched during training.

    Convention: of equal largest logits the first is the answer.

    What the options change. `divergence="from_uniform"` is KL(uniform to probs), the mean over
    classes of -log(k p_c): it is unbounded and pushes at full strength on very confident mistakes,
    where the published one (at most log k) hardly moves them. `mean="subset"` divides each sum by
    the size of its own set; where 95 % of the batch are right, a mistake then weighs 19 times as
    much against a right answer as published, and alpha means something else. An empty set
    contributes 0 either way.

    Args:
        logits: (n, k) finite floats.
        labels: (n,) integers 0 ... k - 1.
        divergence: "to_uniform" (published) or "from_uniform" (reversed).
        mean: "batch" (published) or "subset".

    Raises:
        TypeError: Logits that are no tensor of floats, labels that are no integers.
        ValueError: Other shapes, a label that is no class, an unknown option.

    Source: Rabanser et al., arXiv 2502.19335; the options are those of public reproductions.
    """
    _check_logits(logits, 2, "(images, classes)")
    for name, value, known in (("divergence", divergence, Divergence), ("mean", mean, Mean)):
        if value not in get_args(known):
            raise ValueError(f"{name} is {value!r}; choose one of {', '.join(get_args(known))}")
    target = check_labels(labels, *logits.shape).to(logits.device)
    logs = _log_probs(logits)  # (n, k)
    answered = logits.argmax(1) == target
    entropy = -logs.gather(1, target[:, None])[:, 0]
    surplus = _DIVERGENCES[divergence](logs)
    sums = [
        torch.where(chosen, values, 0.0).sum()
        for chosen, values in ((answered, entropy), (~answered, surplus))
    ]
    if mean == "batch":
        correct, wrong = (total / len(target) for total in sums)
    else:
        sizes = answered.sum(), (~answered).sum()
        correct, wrong = (s / n.clamp(min=1) for s, n in zip(sums, sizes, strict=True))
    return GatekeeperParts(correct, wrong, answered)


def gatekeeper_sequence_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    mask: torch.Tensor,
    *,
    alpha: float,
    divergence: Divergence = "to_uniform",
    mean: Mean = "batch",
) -> torch.Tensor:
    """Return the Gatekeeper loss of a batch of token sequences, under teacher forcing.

    The same two terms summed over all tokens: a token is right where the largest logit of its
    position, given the true tokens before it, is the true token. The logits of a position must
    already be those that predict the label of that position; shift them before, not here.

    Convention: divided by the number of real tokens, padding left out, which is n times the length
    where all sequences have one length. So a long sequence weighs more than a short one; what the
    paper does where lengths differ we do not know.

    Args:
        logits: (n, t, k) finite floats, k the size of the vocabulary.
        labels: (n, t) integers 0 ... k - 1; at padded positions anything, such as -100.
        mask: (n, t) bool, True for a real token and False for padding.
        alpha: Weight of the correct part, in (0, 1).
        divergence: As in `gatekeeper_parts`.
        mean: As in `gatekeeper_parts`, the batch being all real tokens.

    Returns:
        A tensor without dimensions, in nats a token.

    Raises:
        TypeError: Logits that are no tensor of floats, a mask that is not bool.
        ValueError: Other shapes, no real token, and as `gatekeeper_loss`.

    Source: Rabanser et al., arXiv 2502.19335, the form for language models.
    """
    kept = _check_mask(logits, mask)
    if labels.shape != mask.shape:
        raise ValueError(f"labels have shape {tuple(labels.shape)}, mask {tuple(mask.shape)}")
    if not kept.any():
        raise ValueError("mask has no True: a batch of nothing but padding has no loss")
    return gatekeeper_loss(
        logits[kept], labels[kept], alpha=alpha, divergence=divergence, mean=mean
    )


def sequence_score(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Return the (n,) mean negative entropy of each sequence, by which it is kept or deferred.

    The mean over its real tokens of sum_c p_c log p_c. Its negative is an uncertainty as
    `duokit.cascade.deferral` takes it.

    Args:
        logits: (n, t, k) finite floats.
        mask: (n, t) bool, True for a real token and False for padding.

    Returns:
        Nats in [-log k, 0], higher = surer; float32, or float64 if the logits are.

    Raises:
        TypeError: Logits that are no tensor of floats, a mask that is not bool.
        ValueError: Other shapes, or a sequence without a real token.

    Source: Rabanser et al., arXiv 2502.19335.
    """
    kept = _check_mask(logits, mask)
    tokens = kept.sum(1)
    if (tokens == 0).any():
        row = int((tokens == 0).nonzero()[0, 0])
        raise ValueError(f"sequence {row} has no real token in the mask: leave it out")
    logs = _log_probs(logits)
    negative = (logs.exp() * logs).sum(2)
    return torch.where(kept, negative, 0.0).sum(1) / tokens


def _to_uniform(logs: torch.Tensor) -> torch.Tensor:
    # log p is at worst about -1e38 in float32 and p there exactly 0: the product is 0, not NaN
    return (logs.exp() * logs).sum(1) + log(logs.shape[1])


def _from_uniform(logs: torch.Tensor) -> torch.Tensor:
    return -logs.mean(1) - log(logs.shape[1])


_DIVERGENCES: dict[Divergence, Callable[[torch.Tensor], torch.Tensor]] = {
    "to_uniform": _to_uniform,
    "from_uniform": _from_uniform,
}


def _log_probs(logits: torch.Tensor) -> torch.Tensor:
    wide = logits if logits.dtype == torch.float64 else logits.float()
    return wide.log_softmax(-1)


def _check_logits(logits: torch.Tensor, dimensions: int, shape: str) -> None:
    # Unlike duokit.checks.check_logits this keeps the gradient and does not read every number.
    if not isinstance(logits, torch.Tensor) or not logits.is_floating_point():
        kind = getattr(logits, "dtype", type(logits).__name__)
        raise TypeError(f"logits must be a tensor of floats, not {kind}")
    if logits.ndim != dimensions or logits.shape[-1] < 2 or 0 in logits.shape:
        raise ValueError(
            f"logits must have shape {shape}, at least 1 of each and 2 classes, "
            f"not {tuple(logits.shape)}"
        )


def _check_mask(logits: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    _check_logits(logits, 3, "(sequences, tokens, vocabulary)")
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        kind = getattr(mask, "dtype", type(mask).__name__)
        raise TypeError(f"mask must be a bool tensor, True for a real token, not {kind}")
    if mask.shape != logits.shape[:2]:
        raise ValueError(f"mask must have shape {tuple(logits.shape[:2])}, not {tuple(mask.shape)}")
    return mask.to(logits.device)
