"""What a step of training minimises, as a sum over its images: by the stage of the settings."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import cross_entropy, kl_div

from duokit.cascade.gatekeeper import gatekeeper_loss
from duokit.models.tuning.settings import FineTune

# (logits (m, k) float32, targets (m,) or (m, k), rows (m,) of the pictures) -> () nats, summed
Objective = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def objective(settings: FineTune, *, teacher: torch.Tensor | None = None) -> Objective:
    """Returns the function from logits, targets and rows to the summed loss of these images.

    - "plain" and "continued": cross-entropy.
    - "gatekeeper": the Gatekeeper loss, whose two parts are sums over images as well; with
      mean = "subset" each is divided by the size of its own set first, in each micro-batch.
    - "distilled": distil * T^2 * KL(teacher at T to student at T) + (1 - distil) * cross-entropy,
      with T the temperature of the settings.

    Args:
        settings: stage, and the numbers that belong to it.
        teacher: (rows, k) logits of the teacher for every row that is trained on.

    Raises:
        ValueError: a stage "distilled" without a teacher.

    Source: Gatekeeper, arXiv 2502.19335; distillation, arXiv 1503.02531.
    """
    if settings.stage == "gatekeeper":
        return _gatekeeper(settings)
    if settings.stage == "distilled":
        if teacher is None:
            raise ValueError("stage distilled needs the teacher's logits of the training images")
        return _distillation(settings, teacher)

    def plain(logits: torch.Tensor, target: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        smooth = settings.label_smoothing
        return cross_entropy(logits, target, label_smoothing=smooth, reduction="sum")

    return plain


def _gatekeeper(settings: FineTune) -> Objective:
    alpha = settings.alpha
    assert alpha is not None  # the settings see to it

    def loss(logits: torch.Tensor, labels: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        return len(labels) * gatekeeper_loss(
            logits, labels, alpha=alpha, divergence=settings.divergence, mean=settings.mean
        )

    return loss


def _distillation(settings: FineTune, teacher: torch.Tensor) -> Objective:
    share, hot = settings.distil, settings.temperature

    def loss(logits: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        wanted = teacher[rows.to(teacher.device)].to(logits.device, logits.dtype)
        logs, target = (logits / hot).log_softmax(1), (wanted / hot).log_softmax(1)
        soft = hot**2 * kl_div(logs, target, log_target=True, reduction="sum")
        return share * soft + (1 - share) * cross_entropy(logits, labels, reduction="sum")

    return loss
