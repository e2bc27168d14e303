"""What becomes of BatchNorm's statistics, and a run that never ends below its probe in silence."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import duokit.models.tuning.finetune as loop
from duokit.images import make_splits
from duokit.models import predict
from duokit.models.tuning import tuned
from duokit.models.tuning.checkpoint import BEST, HISTORY, Progress
from duokit.models.tuning.run import below_start, config_of
from duokit.models.tuning.statistics import Choice, adapt_statistics, choose, shown
from tests.models.tuning.test_finetune import (  # noqa: F401
    HOW,
    PLAIN,
    Killed,
    Normed,
    make,
    pixels,
    tune,
    weights,
)

pytestmark = [
    pytest.mark.promise("training"),
    pytest.mark.filterwarnings("ignore:the best strength", "ignore:after .* steps the statistics"),
]
TRAIN, VAL = torch.arange(60), torch.arange(60, 90)
AUTO = replace(PLAIN, batchnorm="auto", randaugment=0, lr=1e-3)


def shifted(mean: float) -> Normed:
    """Returns a network that was "pretrained" on pictures of another brightness."""
    model = make(Normed)
    model.norm.running_mean.fill_(mean)
    return model


def probed(pixels) -> Normed:  # noqa: F811
    """Returns one whose head fits statistics that are far from those of any batch."""
    model = shifted(-5.0)
    tuned.probe_head(model, pixels, TRAIN, VAL, device="cpu", progress=False)
    return model


def test_statistics_that_move_harm_and_auto_keeps_them(pixels, tmp_path):  # noqa: F811
    """The fault that this file is about: the head no longer fits from the first step on."""
    moved, theirs = tune(
        pixels, tmp_path / "train", replace(AUTO, batchnorm="train"), probed(pixels)
    )
    before, *epochs = theirs.history
    assert all(row["val_accuracy"] < before["val_accuracy"] - 0.1 for row in epochs)
    assert epochs[0]["loss"] > before["loss"] + 0.1
    assert (theirs.best_epoch, theirs.best) == (0, before["val_accuracy"])
    assert torch.equal(weights(moved), weights(probed(pixels)))
    kept, ours = tune(pixels, tmp_path / "auto", AUTO, probed(pixels))
    assert ours.batchnorm == "frozen"
    assert ours.trials["frozen"] < ours.trials["train"] - 0.1
    assert torch.equal(kept.norm.running_mean, torch.full((4,), -5.0))
    assert ours.history[0]["val_accuracy"] == before["val_accuracy"] <= ours.best
    assert ours.history[1]["loss"] < before["loss"] + 0.1
    sentence = below_start(replace(AUTO, batchnorm="train"), theirs)
    assert f"from {theirs.best:.4f} to {max(r['val_accuracy'] for r in epochs):.4f}" in sentence
    assert "its linear probe is kept; likely cause: BatchNorm left the statistics" in sentence
    about = config_of(tmp_path / "auto", AUTO, ours, command="")
    assert about["batchnorm"] == "frozen"
    assert about["trials"] == ours.trials
    json.dumps(about, allow_nan=False)


def test_epoch_0_is_the_network_as_it_came(pixels, tmp_path):  # noqa: F811
    start = probed(pixels)
    _, done = tune(pixels, tmp_path, replace(AUTO, batchnorm="frozen"), copy.deepcopy(start))
    first = done.history[0]
    assert [row["epoch"] for row in done.history] == [0, 1, 2, 3]
    assert (first["step"], first["lr"]) == (0, 0.0)
    val = torch.from_numpy(predict(start, pixels, rows=VAL.numpy(), progress=False))
    right = (val.argmax(1) == pixels.labels[VAL]).double().mean()
    assert first["val_accuracy"] == float(right)
    mirrored = pixels.normalised(pixels.values[TRAIN])  # flip and pooling: one loss for both
    with torch.inference_mode():
        flips = torch.stack([start(mirrored), start(mirrored.flip(3))])
    losses = [
        float(torch.nn.functional.cross_entropy(each, pixels.labels[TRAIN])) for each in flips
    ]
    assert min(losses) - 0.05 < first["loss"] < max(losses) + 0.05
    rows = [json.loads(line) for line in (tmp_path / HISTORY).read_text().splitlines()]
    assert rows == done.history


@pytest.mark.parametrize(("lr", "epoch"), [(0.0, 0), (1e-4, 3)])
def test_of_two_with_one_score_the_nll_decides(pixels, tmp_path, lr, epoch):  # noqa: F811
    """A network that is right about all of val gets surer, or stays."""
    labels = pixels.labels.clone()
    labels[VAL] = 0
    model = make()
    model.fc.bias.data[0] += 9.0
    same = replace(PLAIN, lr=lr, weight_decay=0.0, randaugment=0, epochs=3)
    _, done = tune(replace(pixels, labels=labels * 0), tmp_path, same, model)
    assert {row["val_accuracy"] for row in done.history} == {1.0}
    assert done.best_epoch in ({0} if epoch == 0 else {1, 2, 3})


def test_random_weights_without_a_probe_are_not_kept(pixels, tmp_path):  # noqa: F811
    settings = replace(PLAIN, lr=0.0, weight_decay=0.0, pretrained="none", probe=False)
    _, done = tune(pixels, tmp_path / "random", settings)
    assert [row["epoch"] for row in done.history] == [0, 1, 2, 3]
    assert done.best_epoch == 1
    assert below_start(settings, done) is None
    _, done = tune(pixels, tmp_path / "probed", replace(settings, probe=True))
    assert done.best_epoch == 0  # nothing has changed


def test_statistics_are_estimated_again_before_val_is_seen(pixels, tmp_path):  # noqa: F811
    settings = replace(AUTO, pretrained="none", select="last", lr=1e-2)  # random weights: train
    model, done = tune(pixels, tmp_path / "auto", settings, make(Normed))
    assert (done.batchnorm, done.trials) == ("train", {})
    again = copy.deepcopy(model)
    adapt_statistics(again, pixels, TRAIN)
    assert torch.allclose(again.norm.running_mean, model.norm.running_mean, atol=1e-6)
    logits = torch.from_numpy(predict(again, pixels, rows=VAL.numpy(), progress=False))
    nll = float(torch.nn.functional.cross_entropy(logits.double(), pixels.labels[VAL]))
    assert done.history[-1]["val_nll"] == pytest.approx(nll, abs=1e-5)
    paper, _ = tune(pixels, tmp_path / "paper", replace(settings, batchnorm="train"), make(Normed))
    assert torch.allclose(paper.stem.weight, model.stem.weight)  # the steps are the same
    assert not torch.allclose(paper.norm.running_mean, model.norm.running_mean, atol=1e-3)


@pytest.mark.parametrize("pretrained", ["auto", "none"])
@pytest.mark.parametrize("at", [0, 5])
def test_a_killed_run_makes_the_same_choice(pixels, tmp_path, monkeypatch, pretrained, at):  # noqa: F811
    """Before the first checkpoint it chooses again, after it the checkpoint knows."""
    settings = replace(AUTO, pretrained=pretrained, save_minutes=0.0)
    whole, done = tune(pixels, tmp_path / "whole", settings, probed(pixels))
    real, calls = loop.gradients, []

    def fragile(*given):
        calls.append(1)
        if len(calls) == at + 1:
            raise Killed
        return real(*given)

    monkeypatch.setattr(loop, "gradients", fragile)
    with pytest.raises(Killed):
        tune(pixels, tmp_path / "cut", settings, probed(pixels))
    if at:
        monkeypatch.setattr(loop, "choose", None)
    again, resumed = tune(pixels, tmp_path / "cut", settings, probed(pixels))
    assert torch.equal(weights(whole), weights(again))
    assert (tmp_path / "whole" / BEST).read_bytes() == (tmp_path / "cut" / BEST).read_bytes()
    assert (resumed.batchnorm, resumed.trials) == (done.batchnorm, done.trials)
    for ours, theirs in zip(done.history, resumed.history, strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}


@pytest.fixture
def start_of(stripes, monkeypatch):
    """`prepare` for a network with these statistics in place of a pretrained one."""
    monkeypatch.setattr(tuned, "preprocessing", lambda *_, **__: HOW)
    splits = make_splits(stripes, train=18, val=6, seed=0)

    def begin(mean, **changes):
        monkeypatch.setattr(tuned, "build", lambda *_, **__: shifted(mean))
        settings = replace(AUTO, **changes)
        return tuned.prepare(stripes, splits, settings, device="cpu", progress=False)

    return begin


def knows(start) -> float:
    rows = start.rows["val"]
    logits = predict(start.model, start.pixels, rows=rows.numpy(), device="cpu", progress=False)
    return float((logits.argmax(1) == start.pixels.labels[rows].numpy()).mean())


def test_statistics_under_which_nothing_is_seen_are_adapted(start_of):
    """At a mean of 100 no unit answers: the probe on frozen statistics guesses."""
    frozen, auto, adapted = (
        start_of(100.0, batchnorm=name) for name in ("frozen", "auto", "adapted")
    )
    assert auto.choice.batchnorm in ("adapted", "train")
    assert auto.choice.losses["frozen"] > auto.choice.losses["adapted"]
    assert knows(auto) == knows(adapted) > knows(frozen)
    assert adapted.choice == Choice("adapted")
    assert torch.allclose(weights(auto.model), weights(adapted.model))
    assert torch.equal(frozen.model.norm.running_mean, torch.full((4,), 100.0))


def test_statistics_on_which_the_probe_knows_less_are_not_tried(start_of, monkeypatch):
    def blinded(model, *_):
        model.norm.running_mean.fill_(100.0)

    monkeypatch.setattr(tuned, "adapt_statistics", blinded)
    start = start_of(-5.0)
    assert set(start.choice.losses) == {"frozen", "train"}
    assert start.choice.batchnorm == "frozen"
    assert torch.equal(start.model.norm.running_mean, torch.full((4,), -5.0))
    without = start_of(-5.0, probe=False)
    assert set(without.choice.losses) == {"frozen", "train"}


def test_what_there_is_nothing_to_choose_of(pixels, tmp_path):  # noqa: F811
    _, done = tune(pixels, tmp_path, replace(PLAIN, batchnorm="auto"), make())
    assert (done.batchnorm, done.trials) == ("none", {})
    devices = loop.pick_devices(PLAIN, "cpu")
    given = pixels, TRAIN, AUTO, devices, loop.objective(AUTO)
    both = {"frozen": make(Normed), "train": make(Normed)}
    known = Choice("adapted", {"frozen": 2.0, "adapted": 1.0})
    assert choose(both, *given, known) == known
    for each in both.values():
        each.fc.weight.data.fill_(np.nan)
    assert choose(both, *given) == Choice("frozen")  # the run itself will say what is wrong


@pytest.mark.parametrize("images", [2, 13, 129, 257])
def test_no_batch_of_statistics_has_one_picture(pixels, images):  # noqa: F811
    rows = torch.arange(images) % 90
    batches = [len(each) for each in shown(pixels, rows, torch.device("cpu"))]
    assert sum(batches) == images
    assert 2 <= min(batches) <= max(batches) <= 128


HISTORIES = {
    "by heart": ([0.9, 0.5, 0.1], [0.8, 0.7, 0.6], "frozen"),
    "too few steps": ([0.9, 1.5, 1.1], [0.8, 0.7, 0.6], "adapted"),
    "another batchnorm": ([0.9, 1.5, 0.5], [0.8, 0.7, 0.6], "train"),
}


@pytest.mark.parametrize("cause", HISTORIES)
def test_the_likely_cause(cause):
    losses, scores, batchnorm = HISTORIES[cause]
    rows = [
        {"epoch": epoch, "loss": loss, "val_accuracy": right, "val_macro_f1": 0.5}
        for epoch, (loss, right) in enumerate(zip(losses, scores, strict=True))
    ]
    done = Progress(history=rows, batchnorm=batchnorm)
    sentence = below_start(PLAIN, done)
    assert cause in sentence
    assert "accuracy on val went from 0.8000 to 0.7000 (epoch 1); its linear probe" in sentence
    done.best_epoch = 2
    last = below_start(replace(PLAIN, select="last", probe=False), done)
    assert "below what it began with" in last
    assert "to 0.6000 (epoch 2); the last epoch" in last
    assert "the run that it goes on from" in below_start(replace(PLAIN, stage="continued"), done)
    assert below_start(replace(PLAIN, select="macro_f1"), done) is None  # no worse
    assert below_start(replace(PLAIN, stage="gatekeeper", alpha=0.5), done) is None
    assert below_start(PLAIN, Progress(history=rows[1:])) is None  # of an older version
