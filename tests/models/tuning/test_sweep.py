"""Sweeps: trials that fail alone, sweeps that go on, and the same table whoever runs them."""

import hashlib
import os
import sys
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from duokit.images import make_splits
from duokit.logits import load
from duokit.models import predict
from duokit.models.tuning import searchers, trials
from duokit.models.tuning.checkpoint import BEST, HISTORY, LAST
from duokit.models.tuning.finetune import fine_tune
from duokit.models.tuning.run import RUN, keep_splits, load_run
from duokit.models.tuning.settings import FineTune
from duokit.models.tuning.space import Search, Space
from duokit.models.tuning.sweep import SWEEP, check_about, ingredients, results, sweep
from duokit.models.tuning.trials import TRIAL, VAL, Ended, Task, ended
from duokit.models.tuning.tuned import prepare

SHORT = FineTune(
    "test_efficientnet", resolution=16, pretrained="none", probe=False, epochs=2, batch=16
)
WIDE = Space(lr=(1e-4, 1e-2))
HERE = ("optuna", "random")


class Setting:
    """A small task, and the sweep over it."""

    def __init__(self, images) -> None:
        self.images = images
        self.splits = make_splits(images, train=15, val=10, seed=0)
        self.start = prepare(images, self.splits, SHORT, device="cpu", progress=False)

    def sweep(self, folder, searcher="random", trials=3, *, settings=SHORT, until=None, **search):
        search = Search(trials, **{"space": WIDE, "prune": False, "searcher": searcher} | search)
        return sweep(
            self.start, self.images, self.splits, settings, folder, search=search, command="words",
            device="cpu", until=until, progress=False,
        )  # fmt: skip

    def task(self, folder, **search) -> Task:
        search = Search(**{"space": WIDE} | search)
        return Task(self.start, self.images, self.splits, SHORT, folder, search, device="cpu")

    def stop_in_the_middle(self, folder, number=0) -> None:
        """Leaves a trial as a program that was stopped after its first step does."""
        settings = SHORT.replace(**WIDE.draw(number))
        model = prepare(self.images, self.splits, SHORT, device="cpu", progress=False).model
        keep_splits(folder / f"trial-{number:03d}", self.splits)
        with pytest.raises(TimeoutError):
            fine_tune(
                model, self.start.pixels, settings, train=self.start.rows["train"],
                val=self.start.rows["val"], folder=folder / f"trial-{number:03d}", device="cpu",
                until=time.monotonic(), progress=False,
            )  # fmt: skip


@pytest.fixture
def setting(stripes) -> Setting:
    return Setting(stripes)


@pytest.fixture
def started(monkeypatch):
    """Ray is started with two processors; a busy machine may miss its deadline of 30 seconds."""
    ray = pytest.importorskip("ray")
    for name in ("RAY_ADDRESS", "COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)  # Ray's own processes are not to be measured
    real, given = ray.init, []
    small = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 80_000_000}

    def init(**options):
        given.append(options)
        try:
            return real(**options, **small)
        except Exception as error:
            ray.shutdown()
            if "timed out during startup" not in str(error):
                raise
            pytest.skip("Ray did not start within its 30 seconds")

    monkeypatch.setattr(ray, "init", init)
    yield given
    ray.shutdown()


def digests(folder: Path) -> list[str]:
    """Returns what the weights of the trials are, in order."""
    return [
        hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob(f"trial-*/{BEST}"))
    ]


def plain(table):
    """Returns the table without what names the folder."""
    return table.drop(columns=["folder", "error"])


# --- whoever runs it


@pytest.mark.parametrize(
    "names", [HERE, pytest.param((*HERE, "ray"), marks=pytest.mark.long)], ids=["here", "ray"]
)
def test_all_searchers_end_with_the_same_table_and_the_same_weights(
    setting, tmp_path, request, names
):
    """Trial 0 was stopped in the middle, trial 1 has a damaged checkpoint."""
    started = request.getfixturevalue("started") if "ray" in names else None
    tables, (first, *others) = {}, names
    for name in names:
        folder = tmp_path / name
        setting.stop_in_the_middle(folder)
        keep_splits(folder / "trial-001", setting.splits)
        (folder / "trial-001" / LAST).write_bytes(b"no checkpoint")
        tables[name] = setting.sweep(folder, name)
        assert tables[name]["state"].tolist() == ["complete", "failed", "complete"]
        assert "last.pt is no checkpoint" in tables[name].loc[1, "error"]
        assert not list(folder.glob(f"trial-*/{LAST}"))
        assert len(ingredients(folder)[0]) == 2
    if started is not None:
        assert len(started) == 1
        assert not sys.modules["ray"].is_initialized()
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        assert list((tmp_path / "ray" / "ray").glob("*/experiment_state*"))  # Ray's own files
    for name in others:
        assert plain(tables[name]).equals(plain(tables[first]))
        assert digests(tmp_path / name) == digests(tmp_path / first)
    assert len(set(digests(tmp_path / first))) == 2
    logits = [load(tmp_path / name / "trial-002" / VAL).logits for name in tables]
    assert all((each == logits[0]).all() for each in logits)
    whole = setting.sweep(tmp_path / "whole", trials=1)  # trial 0 as if it had never stopped
    assert plain(whole).equals(plain(tables[first].loc[[0]]))
    assert digests(tmp_path / "whole") == digests(tmp_path / first)[:1]
    # trials that ended are not run again, and another searcher adds to them
    last, before = tmp_path / names[-1], digests(tmp_path / names[-1])
    added = setting.sweep(last, names[-2], trials=4)
    assert plain(added.iloc[:3]).equals(plain(tables[names[-1]]))
    assert digests(last)[:2] == before


def four_good_trials(folder):
    for number in range(4):
        draw = WIDE.draw(number)
        how = Ended(number, **draw, state="complete", score=2.0, epoch=1, scores=(2.0, 2.0))
        how.write(folder / f"trial-{number:03d}")


@pytest.mark.parametrize("name", HERE)
def test_a_poor_trial_ends_early(setting, tmp_path, name):
    four_good_trials(tmp_path)
    table = setting.sweep(tmp_path, name, trials=5, prune=True)
    assert table["state"].tolist() == ["complete"] * 4 + ["pruned"]
    assert table.loc[4, "epoch"] == 1
    assert 0 < table.loc[4, "score"] <= 1
    assert load(tmp_path / "trial-004" / VAL).config["best_epoch"] == 1
    assert not (tmp_path / "trial-004" / LAST).exists()
    assert len(ended(tmp_path)[4].scores) == 1


def test_a_trial_where_ray_has_put_it(setting, tmp_path, monkeypatch):
    """Without a cluster: pruned like any other, and back in silence when it is time."""
    tune = pytest.importorskip("ray.tune")
    reports = []
    monkeypatch.setattr(tune, "report", reports.append)
    four_good_trials(tmp_path)
    values = setting.start.pixels.values.numpy().copy()
    values.flags.writeable = False  # as Ray hands it out
    task = searchers._portable(replace(setting.task(tmp_path), until=time.monotonic() + 1e6))
    assert not task.start.pixels.values.numel()
    with pytest.raises(RuntimeError, match="picture 3 is not here"):
        task.image_set.open(3)
    searchers._ray_trial({"number": 4}, task, values)
    assert ended(tmp_path)[4].state == "pruned"
    assert reports == [{"epoch": 1, "score": ended(tmp_path)[4].score}]
    searchers._ray_trial({"number": 5}, replace(task, until=time.time()), values)
    assert len(ended(tmp_path)) == 5


@pytest.mark.parametrize("name", HERE)
def test_no_time_left(setting, tmp_path, name, monkeypatch):
    now = time.monotonic()
    real = trials.fine_tune

    def out_of_time(*given, **options):
        return real(*given, **options | {"until": now})

    monkeypatch.setattr(trials, "fine_tune", out_of_time)
    with pytest.raises(TimeoutError, match="out of time after step 1"):
        setting.sweep(tmp_path, name, trials=2, until=now + 1e6)
    assert (tmp_path / "trial-000" / LAST).is_file()
    assert results(tmp_path).empty
    monkeypatch.undo()
    with pytest.raises(TimeoutError, match="out of time before trial 0 of 2"):
        setting.sweep(tmp_path, name, trials=2, until=now)
    table = setting.sweep(tmp_path, name, trials=2)
    assert plain(table).equals(plain(setting.sweep(tmp_path / "whole", name, trials=2)))
    assert digests(tmp_path) == digests(tmp_path / "whole")


@pytest.mark.parametrize("name", HERE)
def test_an_interrupted_sweep_goes_on_where_it_was(setting, tmp_path, name, monkeypatch):
    whole = setting.sweep(tmp_path / "whole", name)
    real, calls = trials._scores, []

    def fragile(done, settings):
        calls.append(done.step)
        if len(calls) == 4:  # trial 1, first epoch; trial 0 took three
            raise KeyboardInterrupt
        return real(done, settings)

    monkeypatch.setattr(trials, "_scores", fragile)
    with pytest.raises(KeyboardInterrupt):
        setting.sweep(tmp_path / "cut", name)
    assert results(tmp_path / "cut")["state"].tolist() == ["complete"]
    assert (tmp_path / "cut" / "trial-001" / LAST).is_file()
    calls.clear()
    calls += [0] * 4
    again = setting.sweep(tmp_path / "cut", name)
    assert len(calls) == 4 + 2 + 3  # trial 1's second epoch and its end, and trial 2
    assert plain(again).equals(plain(whole))
    assert digests(tmp_path / "cut") == digests(tmp_path / "whole")


def test_without_optuna_a_plain_loop_runs_the_trials(setting, tmp_path, monkeypatch):
    expected = setting.sweep(tmp_path / "with", None, trials=2)
    assert (tmp_path / "with" / searchers.JOURNAL).is_file()
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.warns(UserWarning, match="Optuna is not installed") as seen:
        table = setting.sweep(tmp_path / "without", None, trials=2)
    assert len(seen) == 1
    assert plain(table).equals(plain(expected))
    assert digests(tmp_path / "with") == digests(tmp_path / "without")
    with pytest.raises(ModuleNotFoundError, match=r"needs Optuna: pip install 'duokit\[tune\]'"):
        setting.sweep(tmp_path / "named", "optuna")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs Ray Tune: pip install 'duokit\[tune\]'"):
        setting.sweep(tmp_path / "ray", "ray")


@pytest.mark.promise("whole-files")
@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_sweep_whose_journal_was_cut_goes_on(setting, tmp_path, cut):
    """Whatever the last line lost, the trials that ended are known from their own files."""
    before = setting.sweep(tmp_path, "optuna", trials=2)
    journal = tmp_path / searchers.JOURNAL
    raw = journal.read_bytes()
    journal.write_bytes(raw[:-cut])
    for _ in range(3):  # it stays readable
        study = searchers._study(setting.task(tmp_path))
        known = {each.user_attrs["draw"] for each in study.trials if each.state.name == "COMPLETE"}
        assert known == {0, 1}
    after = setting.sweep(tmp_path, "optuna", trials=3)
    assert plain(after.loc[:1]).equals(plain(before))
    assert after.loc[2, "state"] == "complete"


@pytest.mark.promise("whole-files")
@pytest.mark.parametrize("text", [b"my notes", b"", b'{"op_code":0}\n', b"\xff\n{}\n"])
def test_a_journal_that_cannot_be_read_is_set_aside(setting, tmp_path, text):
    setting.sweep(tmp_path, "random", trials=1)
    (tmp_path / searchers.JOURNAL).write_bytes(text)
    with (
        pytest.warns(UserWarning, match="goes on from the files of its trials")
        if text
        else (nullcontext())
    ):
        study = searchers._study(setting.task(tmp_path))
    assert [each.user_attrs["draw"] for each in study.trials] == [0]
    aside = list(tmp_path.glob(f"{searchers.JOURNAL}.damaged-*"))
    assert [path.read_bytes() for path in aside] == [text] * bool(text)


@pytest.mark.promise("whole-files")
@pytest.mark.parametrize("name", [SWEEP, searchers.JOURNAL])
def test_a_folder_of_another_program_is_refused(setting, tmp_path, name):
    (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises((FileExistsError, ValueError), match=rf"{name} .*move it away"):
        setting.sweep(tmp_path, trials=1)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == '{"mine": 1}'


@pytest.mark.promise("whole-files")
@pytest.mark.parametrize("name", [LAST, BEST, HISTORY, RUN])
def test_a_trial_does_not_touch_the_files_of_another_program(setting, tmp_path, name):
    (tmp_path / "trial-000").mkdir()
    (tmp_path / "trial-000" / name).write_text("mine")
    with pytest.raises(FileExistsError, match=f"{name} is there, and not of a run of duokit"):
        setting.sweep(tmp_path, trials=1)
    assert [path.name for path in (tmp_path / "trial-000").iterdir()] == [name]
    assert (tmp_path / "trial-000" / name).read_text() == "mine"


# --- one trial


def test_a_trial_is_a_run_of_its_own(setting, tmp_path):
    before = [each.clone() for each in setting.start.model.state_dict().values()]
    table = setting.sweep(tmp_path / "swept", trials=2)
    after = setting.start.model.state_dict().values()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    values = WIDE.draw(1)
    model = prepare(setting.images, setting.splits, SHORT, device="cpu", progress=False).model
    done = fine_tune(
        model, setting.start.pixels, SHORT.replace(**values), train=setting.start.rows["train"],
        val=setting.start.rows["val"], folder=tmp_path / "alone", device="cpu", progress=False,
    )  # fmt: skip
    assert dict(table.loc[1, ["lr", "weight_decay"]]) == values
    assert (table.loc[1, "score"], table.loc[1, "epoch"]) == (done.best, done.best_epoch)
    place = Path(table.loc[1, "folder"])
    assert (place / BEST).read_bytes() == (tmp_path / "alone" / BEST).read_bytes()
    # what it keeps for a soup, an ensemble, or more records
    record = load(place / VAL)
    assert record.ids == setting.splits.parts["val"]
    assert (record.labels == setting.start.pixels.labels[setting.start.rows["val"]].numpy()).all()
    assert (record.dataset, record.split) == ("stripes", "val")
    assert record.config["settings"]["lr"] == values["lr"]
    assert record.config["command"] == "words"
    assert record.config["trial"] == 1
    assert float((record.logits.argmax(1) == record.labels).mean()) == pytest.approx(done.best)
    run = load_run(place)
    logits = predict(
        run.model, setting.start.pixels, rows=setting.start.rows["val"].numpy(), device="cpu",
        progress=False,
    )  # fmt: skip
    assert np.abs(record.logits.astype(np.float32) - logits).max() < 2e-3 * np.abs(logits).max()


def test_whatever_a_trial_raises_is_how_it_ended(setting, tmp_path, monkeypatch):
    real = trials.fine_tune
    errors = iter([None, TimeoutError("no answer"), OSError("disk"), None])

    def broken(*given, **options):
        if (error := next(errors)) is not None:
            raise error
        return real(*given, **options)

    monkeypatch.setattr(trials, "fine_tune", broken)
    table = setting.sweep(tmp_path, "optuna", trials=4)
    assert table["state"].tolist() == ["complete", "failed", "failed", "complete"]
    assert table["error"].tolist() == ["", "TimeoutError: no answer", "OSError: disk", ""]
    assert table["score"].isna().tolist() == [False, True, True, False]
    monkeypatch.undo()
    assert setting.sweep(tmp_path, trials=4).equals(table)  # and is not tried again
    (tmp_path / "trial-001" / TRIAL).unlink()
    assert setting.sweep(tmp_path, trials=4)["state"].tolist()[1] == "complete"  # unless asked


def test_a_missing_package_is_no_failure_of_a_trial(setting, tmp_path, monkeypatch):
    def missing(*_given, **_options):
        raise ModuleNotFoundError("no accelerate")

    monkeypatch.setattr(trials, "fine_tune", missing)
    with pytest.raises(ModuleNotFoundError):
        setting.sweep(tmp_path)
    assert results(tmp_path).empty


def test_a_trial_that_ray_gave_up_is_listed(setting, tmp_path):
    task = setting.task(tmp_path, trials=2)
    with pytest.raises(KeyboardInterrupt):  # the other was stopped by hand
        searchers._check_ended(task, {0: None, 1: RuntimeError("Traceback ...\nworker died")})
    (how,) = ended(tmp_path)
    assert (how.number, how.state, how.error) == (1, "failed", "RuntimeError: worker died")
    searchers._check_ended(task, {1: None})
    with pytest.raises(TimeoutError, match="out of time: 1 of 2 trials have not ended"):
        searchers._check_ended(replace(task, until=time.monotonic()), {0: None, 1: None})


@pytest.mark.parametrize(
    ("device", "gpus", "there", "expected"),
    [
        ("auto", None, {"CPU": 4.0}, 0),
        ("auto", None, {"GPU": 2.0}, 1),
        ("cpu", None, {"GPU": 2.0}, 0),
        ("cuda", 0.5, {"GPU": 2.0}, 0.5),
    ],
)
def test_what_ray_reserves_for_a_trial(setting, tmp_path, device, gpus, there, expected):
    task = replace(setting.task(tmp_path, cpus=3.0, gpus=gpus), device=device)
    assert searchers._resources(task, there) == {"cpu": 3.0, "gpu": expected}


# --- pruning


def test_optuna_prunes_by_the_same_rule(setting, tmp_path):
    random = np.random.default_rng(0)
    decisions = []
    for sweep_number in range(12):
        folder = tmp_path / str(sweep_number)
        task = setting.task(folder, prune=sweep_number > 0)
        folder.mkdir()
        states = ["complete"] * int(random.integers(3, 7)) + ["pruned", "failed"]
        for number, state in enumerate(states):
            scores = tuple(random.random(1 if state == "pruned" else 3).round(2))
            score = None if state == "failed" else max(scores)
            how = Ended(number, **WIDE.draw(number), state=state, score=score, scores=scores)
            how.write(task.place(number))
        study = searchers._study(task)
        assert len(searchers._study(task).get_trials()) == len(states) - 1  # told once
        trial, told, scores = searchers._ask(study, 50, WIDE), [], []
        for _ in range(3):
            scores.append(round(float(random.random()), 2))
            mine = task.poor(scores)
            assert searchers._report(trial, told, scores) == mine
            decisions.append(mine)
    assert 4 < sum(decisions) < 30
    assert not any(decisions[:3])  # prune was off


# --- folders


def test_another_sweep_in_the_folder_is_refused(setting, tmp_path):
    setting.sweep(tmp_path, trials=1)
    with pytest.raises(ValueError, match=r"holds a sweep with epochs = 2, this one has 3"):
        setting.sweep(tmp_path, settings=SHORT.replace(epochs=3))
    with pytest.raises(ValueError, match="holds a sweep with lr = "):
        setting.sweep(tmp_path, space=Space())
    setting.splits = make_splits(setting.images, train=15, val=10, seed=1)
    with pytest.raises(ValueError, match="holds a sweep with split_checksum = "):
        setting.sweep(tmp_path)
    splits = make_splits(setting.images, train=15, val=10, seed=0)
    drawn_anyway = SHORT.replace(lr=0.5, weight_decay=0.5)
    assert check_about(tmp_path, setting.images, splits, drawn_anyway)["command"] == "words"


def test_no_sweep_and_a_damaged_trial(setting, tmp_path):
    with pytest.raises(FileNotFoundError, match=SWEEP):
        results(tmp_path)
    setting.sweep(tmp_path, trials=1)
    (tmp_path / "trial-000" / TRIAL).write_text("{}")
    with pytest.raises(ValueError, match="does not say how a trial ended"):
        results(tmp_path)


def test_no_trial_is_complete(setting, tmp_path):
    setting.sweep(tmp_path, trials=1)
    how = ended(tmp_path)[0]
    Ended(0, how.lr, how.weight_decay, "failed", error="nan").write(tmp_path / "trial-000")
    with pytest.raises(ValueError, match=r"no trial in .* is complete: \['nan'\]"):
        ingredients(tmp_path)


def test_the_start_is_one_ingredient(setting, tmp_path):
    """Trials that did best at epoch 0 are all the network that every one started from."""
    setting.sweep(tmp_path, trials=1)
    for number, (score, epoch) in enumerate([(0.7, 0), (0.9, 2), (0.7, 0), (0.8, 1)]):
        how = Ended(number, 1e-3, 1e-6, state="complete", score=score, epoch=epoch)
        (tmp_path / f"trial-{number:03d}").mkdir(exist_ok=True)
        how.write(tmp_path / f"trial-{number:03d}")
    states, table = ingredients(tmp_path)
    assert table.index.tolist() == [1, 3, 0]
    assert len(states) == 3


def test_ingredients_come_best_first(setting, tmp_path):
    setting.sweep(tmp_path)
    states, table = ingredients(tmp_path)
    assert table["score"].tolist() == sorted(table["score"], reverse=True)
    assert len(states) == 3
    best = load_run(tmp_path / f"trial-{table.index[0]:03d}").model.state_dict()
    assert all(torch.equal(states[0][name], each) for name, each in best.items())
