"""What a stage minimises, against the formulas written out picture by picture."""

from math import log

import pytest
import torch

from duokit.cascade.gatekeeper import gatekeeper_loss
from duokit.models import predict
from duokit.models.pixels import decode
from duokit.models.tuning.finetune import fine_tune
from duokit.models.tuning.objectives import objective
from duokit.models.tuning.settings import FineTune, from_dict
from tests.models.tuning.test_finetune import HOW, PLAIN, make

ROWS = torch.tensor([4, 0, 2])
LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.5, 1.0, 0.0], [-1.0, 0.3, 0.2]])
LABELS = torch.tensor([0, 0, 1])


def test_gatekeeper_sums_what_the_loss_averages():
    settings = FineTune("a", stage="gatekeeper", alpha=0.3)
    expected = 3 * gatekeeper_loss(LOGITS, LABELS, alpha=0.3)
    assert objective(settings)(LOGITS, LABELS, ROWS) == pytest.approx(float(expected))
    logs = LOGITS.double().log_softmax(1)
    right = -float(logs[0, 0]) - float(logs[2, 1])
    wrong = log(3) + float((logs[1].exp() * logs[1]).sum())
    found = float(objective(settings)(LOGITS, LABELS, ROWS))
    assert found == pytest.approx(0.3 * right + 0.7 * wrong, rel=1e-5)


def test_micro_batches_add_up_but_for_the_subset_mean():
    for mean, same in (("batch", True), ("subset", False)):
        whole = objective(FineTune("a", stage="gatekeeper", alpha=0.5, mean=mean))
        parts = sum(whole(LOGITS[i], LABELS[i], ROWS[i]) for i in (slice(0, 2), slice(2, 3)))
        assert (abs(float(parts - whole(LOGITS, LABELS, ROWS))) < 1e-6) is same


def test_the_options_of_the_loss_are_used():
    plain = {"model": "a", "stage": "gatekeeper", "alpha": 0.5}
    values = {
        float(objective(from_dict(plain | more))(LOGITS, LABELS, ROWS))
        for more in ({}, {"divergence": "from_uniform"}, {"mean": "subset"}, {"alpha": 0.9})
    }
    assert len(values) == 4


def test_distillation_looks_up_the_teacher_by_row():
    teacher = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    settings = FineTune("a", stage="distilled", distil=0.25, temperature=3.0)
    total = 0.0
    for row, z, label in zip(ROWS, LOGITS, LABELS, strict=True):
        p, q = (teacher[row] / 3).softmax(0), (z / 3).softmax(0)
        soft = sum(float(a) * (log(a) - log(b)) for a, b in zip(p, q, strict=True))
        total += 0.25 * 9 * soft + 0.75 * -float(z.log_softmax(0)[label])
    found = objective(settings, teacher=teacher)(LOGITS, LABELS, ROWS)
    assert float(found) == pytest.approx(total, rel=1e-5)


def test_cross_entropy_smooths_and_needs_no_rows():
    settings = FineTune("a", label_smoothing=0.1)
    logs = LOGITS.double().log_softmax(1)
    expected = sum(
        -0.9 * float(each[label]) - 0.1 * float(each.mean())
        for each, label in zip(logs, LABELS, strict=True)
    )
    assert float(objective(settings)(LOGITS, LABELS, ROWS)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stage": "gatekeeper"}, "alpha is None and stage is gatekeeper"),
        ({"alpha": 0.5}, "alpha is 0.5 and stage is plain"),
        ({"stage": "gatekeeper", "alpha": 1.0}, "alpha is 1.0"),
        ({"stage": "gatekeeper", "alpha": 0.5, "mixup": 0.2}, "needs plain labels"),
        ({"stage": "distilled", "label_smoothing": 0.1}, "needs plain labels"),
        ({"stage": "tuned"}, "stage is 'tuned'"),
        ({"distil": 1.5}, "distil is 1.5"),
        ({"divergence": "reversed"}, "divergence is 'reversed'"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        from_dict({"model": "a"} | values)


def test_the_name_of_a_run_says_its_stage():
    base = {"model": "a", "stage": "gatekeeper", "alpha": 0.3}
    assert from_dict(base).trained == "gatekeeper0.3"
    assert from_dict(base | {"mean": "subset"}).trained == "gatekeeper0.3_subset"
    assert FineTune("a", stage="continued").trained == "continued"
    assert FineTune("a", stage="distilled").trained == "distilled"


def test_a_student_learns_the_answers_of_its_teacher(stripes, tmp_path):
    """With all weight on a teacher who always says the same, that is what it ends with."""
    pixels = decode(stripes, HOW, progress=False)
    always = torch.tensor([0.7, 0.2, 0.1])
    teacher = always.log().repeat(len(pixels.labels), 1)
    settings = PLAIN.replace(stage="distilled", distil=1.0, select="last", epochs=10, lr=5e-2)
    model = make()
    where = {"folder": tmp_path, "device": "cpu", "progress": False}
    rows = {"train": torch.arange(60), "val": torch.arange(60, 90)}
    done = fine_tune(model, pixels, settings, teacher=teacher, **rows, **where)
    assert done.best_epoch == 10
    probs = torch.from_numpy(predict(model, pixels, device="cpu", progress=False)).softmax(1)
    assert (probs.mean(0) - always).abs().max() < 0.1 < (probs.mean(0) - 1 / 3).abs().max()
    with pytest.raises(ValueError, match="needs the teacher's logits"):
        fine_tune(make(), pixels, settings, **rows, **where)


def test_the_last_epoch_is_kept_even_if_another_was_better(stripes, tmp_path):
    pixels = decode(stripes, HOW, progress=False)
    rows = {"train": torch.arange(60), "val": torch.arange(60, 90)}
    settings = PLAIN.replace(select="last", lr=0.3, warmup=1.0)  # ever larger steps
    where = {"device": "cpu", "progress": False}
    last = fine_tune(make(), pixels, settings, folder=tmp_path / "a", **rows, **where)
    best = fine_tune(
        make(), pixels, settings.replace(select="accuracy"), folder=tmp_path / "b", **rows, **where
    )
    assert last.history[-1]["val_accuracy"] == best.history[-1]["val_accuracy"]
    assert (last.best_epoch, last.best) == (3, 3.0)
    assert best.best == max(row["val_accuracy"] for row in best.history)
