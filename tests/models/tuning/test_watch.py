"""What a run shows while it runs: the bar, and curves that no kill can tear or double."""

import logging
import sys
from dataclasses import replace

import pytest
import torch

import duokit.models.tuning.finetune as loop
import duokit.models.tuning.watch as module
from duokit.models.tuning.finetune import fine_tune
from duokit.models.tuning.schedule import Schedule
from tests.models.tuning.test_finetune import (
    PLAIN,
    Killed,
    make,
    pixels,  # noqa: F401
    tune,
    weights,
)

LONG = replace(PLAIN, epochs=6)  # 24 steps: the loss is looked at after every epoch, and at 20


def drawn(pixels, folder, settings=LONG):  # noqa: F811
    model = make()
    fine_tune(
        model, pixels, settings, train=torch.arange(60), val=torch.arange(60, 90),
        folder=folder, device="cpu", progress=False, tensorboard=True,
    )  # fmt: skip
    return model


def curves(folder):
    """Returns the points that TensorBoard shows: name -> [(step, value), ...]."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    found = EventAccumulator(str(folder)).Reload()
    return {
        name: [(point.step, point.value) for point in found.Scalars(name)]
        for name in found.Tags()["scalars"]
    }


def test_the_bar_shows_loss_speed_and_the_time_left(pixels, tmp_path, capfd):  # noqa: F811
    fine_tune(
        make(), pixels, LONG, train=torch.arange(60), val=torch.arange(60, 90),
        folder=tmp_path, device="cpu",
    )  # fmt: skip
    shown = capfd.readouterr().err
    assert "fine-tune: 100%" in shown
    assert "24/24 [00:" in shown
    assert "<00:00" in shown  # time left, at the end none
    assert "loss " in shown
    assert " images/s" in shown


def test_curves_hold_what_the_history_holds(pixels, tmp_path):  # noqa: F811
    pytest.importorskip("tensorboard")
    plain, done = tune(pixels, tmp_path / "plain", LONG)
    model = drawn(pixels, tmp_path / "drawn")
    assert torch.equal(weights(plain), weights(model))
    found = curves(tmp_path / "drawn")
    for name in ("accuracy", "macro_f1", "nll"):
        expected = {row["step"]: row[f"val_{name}"] for row in done.history}
        assert dict(found[f"val/{name}"]) == pytest.approx(expected)
    steps = [4, 8, 12, 16, 20, 24]
    losses = {row["step"]: row["loss"] for row in done.history[1:]}
    assert dict(found["train/loss"]) == pytest.approx(losses)
    schedule = Schedule(60, LONG)
    rates = {step: schedule.rate(step - 1) for step in steps}
    assert dict(found["train/lr"]) == pytest.approx(rates)
    assert [step for step, _ in found["train/images_per_second"]] == steps


def test_a_resumed_run_goes_on_without_doubles(pixels, tmp_path, monkeypatch):  # noqa: F811
    """Killed after the loss of step 20 was drawn, which no checkpoint knows."""
    pytest.importorskip("tensorboard")
    settings = replace(LONG, batch=6)  # 60 steps, looked at after 10, 20, 30, ...
    monkeypatch.setattr(loop, "LOOK_EVERY", 4)
    drawn(pixels, tmp_path / "whole", settings)
    real, calls = loop.gradients, []

    def fragile(*given):
        calls.append(1)
        if len(calls) == 20:  # drawn: 4, 8, 10, 12, 16; kept: 10
            raise Killed
        return real(*given)

    monkeypatch.setattr(loop, "gradients", fragile)
    with pytest.raises(Killed):
        drawn(pixels, tmp_path / "cut", settings)
    assert [step for step, _ in curves(tmp_path / "cut")["train/loss"]] == [4, 8, 10, 12, 16]
    drawn(pixels, tmp_path / "cut", settings)
    drawn(pixels, tmp_path / "cut", settings)  # finished: draws nothing
    whole, cut = curves(tmp_path / "whole"), curves(tmp_path / "cut")
    for name in ("train/loss", "train/lr", "val/nll"):
        assert cut[name] == whole[name]
    speeds = "train/images_per_second"
    assert [step for step, _ in cut[speeds]] == [step for step, _ in whole[speeds]]


def test_curves_cost_no_further_look_at_the_device(pixels, tmp_path, monkeypatch):  # noqa: F811
    pytest.importorskip("tensorboard")
    counts = []
    real = torch.Tensor.__float__
    monkeypatch.setattr(torch.Tensor, "__float__", lambda each: counts.append(1) or real(each))
    tune(pixels, tmp_path / "plain", LONG)
    plain = len(counts)
    drawn(pixels, tmp_path / "drawn")
    assert len(counts) == 2 * plain > 0


def test_curves_are_on_the_disk_before_the_checkpoint(pixels, tmp_path, monkeypatch):  # noqa: F811
    pytest.importorskip("tensorboard")
    seen = []
    real = loop.write_checkpoint

    def look(folder, *given):
        seen.append([step for step, _ in curves(folder)["train/loss"]])
        real(folder, *given)

    monkeypatch.setattr(loop, "write_checkpoint", look)
    drawn(pixels, tmp_path, PLAIN)
    assert seen == [[4], [4, 8], [4, 8, 12]]


def test_without_tensorboard_the_error_says_what_to_install(pixels, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ModuleNotFoundError, match=r"duokit\[tensorboard\]"):
        drawn(pixels, tmp_path)
    with pytest.raises(ModuleNotFoundError):
        module.curves(tmp_path, 0)
    assert not list(tmp_path.iterdir())
