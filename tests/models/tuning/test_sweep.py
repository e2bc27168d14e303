"""Sweeps: draws that depend on their number alone, trials that fail alone, sweeps that go on."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import duokit.models.tuning.finetune as loop
import duokit.models.tuning.sweep as module
from duokit.models.tuning.checkpoint import BEST
from duokit.models.tuning.sweep import JOURNAL, Space, ingredients, results, sweep
from tests.models.tuning.test_finetune import PLAIN, Killed, make, pixels, tune, weights  # noqa: F401

WIDE = Space(lr=(1e-4, 1e-1))
SHORT = replace(PLAIN, epochs=2)


def run(pixels, folder, trials=3, **options):  # noqa: F811
    given = {"space": WIDE, "settings": SHORT, "prune": False} | options
    settings = given.pop("settings")
    return sweep(
        make(), pixels, settings, train=torch.arange(60), val=torch.arange(60, 90),
        folder=folder, trials=trials, device="cpu", progress=False, **given,
    )  # fmt: skip


def test_draws_are_log_uniform_and_depend_on_their_number():
    draws = [Space().draw(number) for number in range(2000)]
    assert Space().draw(7) == draws[7]
    assert Space(seed=1).draw(7) != draws[7]
    for name, (low, high) in (("lr", (1e-6, 3e-4)), ("weight_decay", (1e-8, 1e-5))):
        places = np.log([draw[name] / low for draw in draws]) / np.log(high / low)
        assert places.min() >= 0
        assert places.max() <= 1
        assert np.quantile(places, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.04)


@pytest.mark.parametrize("ends", [(0.0, 1e-3), (1e-2, 1e-3), (1e-3, 2.0)])
def test_ends_that_make_no_sense(ends):
    with pytest.raises(ValueError, match="expected 0 < low <= high <= 1"):
        Space(lr=ends)


def test_each_trial_is_a_run_of_its_own(pixels, tmp_path):  # noqa: F811
    table = run(pixels, tmp_path)
    assert table["state"].tolist() == ["complete"] * 3
    for number in range(3):
        values = WIDE.draw(number)
        assert table.loc[number, "lr"] == pytest.approx(values["lr"])
        alone, done = tune(pixels, tmp_path / f"alone-{number}", replace(SHORT, **values))
        state = load_file(tmp_path / f"trial-{number:03d}" / BEST)
        assert torch.equal(
            weights(alone), torch.cat([state[k].flatten() for k in alone.state_dict()])
        )
        assert table.loc[number, "score"] == done.best
        assert table.loc[number, "epoch"] == done.best_epoch
    states, scores = ingredients(tmp_path)
    assert scores == sorted(table["score"], reverse=True)
    assert len(states) == 3


def test_a_failed_trial_is_listed_and_the_others_go_on(pixels, tmp_path, monkeypatch):  # noqa: F811
    real = loop._loss

    def broken(net, images, labels, settings):
        loss = real(net, images, labels, settings)
        return loss * float("nan") if settings.lr == WIDE.draw(1)["lr"] else loss

    monkeypatch.setattr(loop, "_loss", broken)
    table = run(pixels, tmp_path)
    assert table["state"].tolist() == ["complete", "failed", "complete"]
    assert "FloatingPointError: the loss is not finite at step 0" in table.loc[1, "error"]
    assert len(ingredients(tmp_path)[0]) == 2
    assert run(pixels, tmp_path).equals(table)  # and is not tried again


def test_a_stopped_sweep_goes_on_where_it_was(pixels, tmp_path, monkeypatch):  # noqa: F811
    whole = run(pixels, tmp_path / "whole")
    real, calls = loop._gradients, []

    def fragile(*given):
        calls.append(1)
        if len(calls) == 14:  # trial 1, second epoch
            raise Killed
        return real(*given)

    monkeypatch.setattr(loop, "_gradients", fragile)
    with pytest.raises(Killed):
        run(pixels, tmp_path / "cut")
    assert results(tmp_path / "cut")["state"].tolist() == ["complete"]
    again = run(pixels, tmp_path / "cut")
    # 24 steps, the cut one, and one that was done after trial 1's last checkpoint
    assert len(calls) == 26
    assert again.drop(columns="folder").equals(whole.drop(columns="folder"))
    for number in range(3):
        name = f"trial-{number:03d}/{BEST}"
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_more_trials_are_added(pixels, tmp_path, monkeypatch):  # noqa: F811
    run(pixels, tmp_path, trials=1)
    count = []
    real = module.fine_tune
    monkeypatch.setattr(module, "fine_tune", lambda *a, **k: count.append(1) or real(*a, **k))
    assert len(run(pixels, tmp_path, trials=2)) == 2
    assert len(count) == 1


def test_another_sweep_in_the_folder_is_refused(pixels, tmp_path):  # noqa: F811
    run(pixels, tmp_path, trials=1)
    with pytest.raises(ValueError, match=r"holds a sweep with epochs = 2, this one has 3"):
        run(pixels, tmp_path, settings=PLAIN)
    with pytest.raises(ValueError, match="holds a sweep with lr = "):
        run(pixels, tmp_path, space=Space())


def test_a_poor_trial_ends_early(pixels, tmp_path, monkeypatch):  # noqa: F811
    scores = iter([0.9] * 8 + [0.1] * 8)
    monkeypatch.setattr(
        loop, "val_scores", lambda *_: {"accuracy": next(scores), "macro_f1": 0.5, "nll": 1.0}
    )
    table = run(pixels, tmp_path, trials=5, prune=True)
    assert table["state"].tolist() == ["complete"] * 4 + ["pruned"]
    assert (tmp_path / "trial-004" / BEST).is_file()
    assert len(ingredients(tmp_path)[0]) == 4


def test_no_sweep_and_no_trials(pixels, tmp_path):  # noqa: F811
    with pytest.raises(FileNotFoundError, match=JOURNAL):
        results(tmp_path)
    with pytest.raises(ValueError, match="trials is 0"):
        run(pixels, tmp_path, trials=0)
