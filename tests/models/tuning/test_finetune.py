"""The training loop: what it computes, what it survives, what it refuses."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

import duokit.models.tuning.finetune as module
import duokit.models.tuning.step as step_module
from duokit.models import predict
from duokit.models.pixels import Pixels, decode
from duokit.models.transforms import Preprocessing
from duokit.models.tuning.checkpoint import BEST, HISTORY, LAST
from duokit.models.tuning.finetune import fine_tune
from duokit.models.tuning.schedule import Schedule
from duokit.models.tuning.settings import FineTune
from tests.models.conftest import Tiny

PLAIN = FineTune("tiny", epochs=3, batch=16, lr=1e-2, randaugment=1, batchnorm="train")
HOW = Preprocessing(8, 1.0, "bilinear", (0.5,) * 3, (0.25,) * 3)


class Normed(Tiny):
    """Tiny with a BatchNorm, which knows how many images it sees at a time."""

    def __init__(self) -> None:
        super().__init__()
        # A bias before the norm has no gradient but noise, which AdamW would blow up.
        self.stem = torch.nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False)
        self.norm = torch.nn.BatchNorm2d(4)

    def forward(self, pictures):
        return self.fc(self.norm(self.stem(pictures)).relu().mean(dim=(2, 3)))


def make(kind=Tiny, dropout=0.0):
    """Returns a network; dropout draws other numbers for other micro-batches, so mostly none."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = kind()
    model.drop.p = dropout
    return model


@pytest.fixture
def pixels(stripes) -> Pixels:
    return decode(stripes, HOW, progress=False)


def tune(pixels, folder, settings=PLAIN, model=None, rows=range(60), val=range(60, 90)):
    model = make() if model is None else model
    done = fine_tune(
        model, pixels, settings, train=torch.tensor(rows), val=torch.tensor(val),
        folder=folder, device="cpu", progress=False,
    )  # fmt: skip
    return model, done


def weights(model):
    return torch.cat([each.detach().flatten() for each in model.state_dict().values()])


def test_the_steps_are_those_of_a_plain_loop(pixels, tmp_path):
    """AdamW by hand over the same batches: no accelerate, no micro-batches, nothing clever."""
    settings = replace(PLAIN, randaugment=0, flip=False, weight_decay=0.1, label_smoothing=0.1)
    tuned, done = tune(pixels, tmp_path, settings, make(Normed))
    model = make(Normed)
    schedule = Schedule(60, settings)
    optimiser = torch.optim.AdamW(model.parameters(), weight_decay=0.1)
    logits = torch.from_numpy(predict(model, pixels, rows=range(60, 90), progress=False))
    best = float((logits.argmax(1) == pixels.labels[60:90]).double().mean())  # epoch 0
    kept = weights(model).clone()
    for step in range(schedule.steps):
        model.train()
        rows = torch.arange(60)[schedule.places(step)]
        images = (pixels.values[rows].float() / 255 - 0.5) / 0.25
        loss = cross_entropy(model(images), pixels.labels[rows], label_smoothing=0.1)
        optimiser.param_groups[0]["lr"] = schedule.rate(step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if (step + 1) % schedule.per_epoch == 0:
            logits = torch.from_numpy(predict(model, pixels, rows=range(60, 90), progress=False))
            score = float((logits.argmax(1) == pixels.labels[60:90]).double().mean())
            if score > best:  # no two are alike here
                best, kept = score, weights(model).clone()
    assert done.best == pytest.approx(best)
    assert torch.allclose(weights(tuned), kept, atol=1e-5)


def test_it_learns_and_keeps_the_best_epoch(pixels, tmp_path):
    model, done = tune(pixels, tmp_path, replace(PLAIN, epochs=25, lr=3e-2, randaugment=0))
    scores = [row["val_accuracy"] for row in done.history]
    assert done.best == max(scores) > 0.6
    assert done.best_epoch == scores.index(max(scores)) > 0
    assert [row["epoch"] for row in done.history] == list(range(26))
    logits = predict(model, pixels, rows=range(60, 90), progress=False)
    right = (torch.from_numpy(logits).argmax(1) == pixels.labels[60:90]).double().mean()
    assert float(right) == done.best
    lines = (tmp_path / HISTORY).read_text().splitlines()
    assert [json.loads(line) for line in lines] == done.history
    assert len(lines) == 26


def test_only_training_images_are_augmented(pixels, tmp_path, monkeypatch):
    """Would catch splits that share one transform, where val is augmented or train is not."""
    seen = []

    def spy(values, draws, *, magnitude):
        seen.extend(values.flatten(1).double().mean(1).tolist())
        return torch.full_like(values, 128)  # grey: nothing can be learnt from it

    monkeypatch.setattr(step_module, "augment", spy)
    model, done = tune(pixels, tmp_path)
    means = pixels.values.flatten(1).double().mean(1).tolist()
    before = means[:60]  # the loss that it begins with
    assert sorted(seen) == pytest.approx(sorted(before + means[:60] * PLAIN.epochs))
    assert done.history[-1]["loss"] > 1.0  # training saw grey alone
    logits = torch.from_numpy(predict(model, pixels, rows=range(60, 90), progress=False))
    expected = float(cross_entropy(logits.double(), pixels.labels[60:90]))
    best = done.history[done.best_epoch]["val_nll"]
    assert best == pytest.approx(expected, abs=1e-6)  # val saw the pictures themselves
    assert logits.std(0).max() > 1e-4


@pytest.mark.parametrize("size", [5, 7, 16])
def test_micro_batches_change_nothing(pixels, tmp_path, size):
    settings = replace(PLAIN, batchnorm="frozen", clip=0.5)
    whole, _ = tune(pixels, tmp_path / "a", settings, make(Normed))
    parts, _ = tune(pixels, tmp_path / "b", replace(settings, micro_batch=size), make(Normed))
    assert torch.allclose(weights(whole), weights(parts), atol=1e-5)


def test_frozen_statistics_stay(pixels, tmp_path):
    frozen, _ = tune(pixels, tmp_path / "a", replace(PLAIN, batchnorm="frozen"), make(Normed))
    moving, _ = tune(pixels, tmp_path / "b", PLAIN, make(Normed))
    assert torch.equal(frozen.norm.running_mean, torch.zeros(4))
    assert not torch.equal(moving.norm.running_mean, torch.zeros(4))


def test_statistics_that_stay_old_are_reported(pixels, tmp_path):
    model = make(Normed)
    model.norm.momentum = 0.01  # as in networks that come from TensorFlow
    with pytest.warns(UserWarning, match="after 12 steps .* still 89% those of the pretrained"):
        tune(pixels, tmp_path / "a", PLAIN, model)
    for name, settings in (
        ("b", replace(PLAIN, batchnorm="frozen")),
        ("c", replace(PLAIN, pretrained="none")),
        ("d", replace(PLAIN, batch=1)),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tune(pixels, tmp_path / name, settings, model)


class Killed(BaseException):
    """Stands for a kill: no handler of ours catches it."""


@pytest.mark.parametrize("at", [0, 1, 4, 6, 11])
def test_a_killed_run_ends_with_the_same_bits(pixels, tmp_path, monkeypatch, at):
    settings = replace(PLAIN, save_minutes=0.0, mixup=0.3)  # a checkpoint after every step
    whole, done = tune(pixels, tmp_path / "whole", settings, make(dropout=0.5))
    real, calls = module.gradients, []

    def fragile(*given):
        calls.append(1)
        if len(calls) == at + 1:
            raise Killed
        return real(*given)

    monkeypatch.setattr(module, "gradients", fragile)
    with pytest.raises(Killed):
        tune(pixels, tmp_path / "cut", settings, make(dropout=0.5))
    again, resumed = tune(pixels, tmp_path / "cut", settings, make(dropout=0.5))
    assert len(calls) == 13  # twelve steps and the one that was cut: none was done twice
    assert torch.equal(weights(whole), weights(again))
    assert (tmp_path / "whole" / BEST).read_bytes() == (tmp_path / "cut" / BEST).read_bytes()
    for ours, theirs in zip(done.history, resumed.history, strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}


def test_a_kill_while_the_checkpoint_is_written_leaves_the_last_one(pixels, tmp_path, monkeypatch):
    whole, _ = tune(pixels, tmp_path / "whole")
    real, calls = torch.save, []

    def cut(state, file):
        calls.append(1)
        if len(calls) == 2:
            file.write(b"half of it")
            raise Killed
        real(state, file)

    monkeypatch.setattr(torch, "save", cut)
    with pytest.raises(Killed):
        tune(pixels, tmp_path / "cut")
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == [BEST, LAST, HISTORY]
    again, _ = tune(pixels, tmp_path / "cut")
    assert torch.equal(weights(whole), weights(again))


def test_a_finished_run_is_not_done_again(pixels, tmp_path, monkeypatch):
    first, _ = tune(pixels, tmp_path)
    monkeypatch.setattr(module, "gradients", None)
    second, _ = tune(pixels, tmp_path)
    assert torch.equal(weights(first), weights(second))


def test_other_settings_are_refused(pixels, tmp_path):
    tune(pixels, tmp_path)
    with pytest.raises(ValueError, match=r"lr = 0\.01, this one has 0\.02.*another folder"):
        tune(pixels, tmp_path, replace(PLAIN, lr=0.02))


def test_a_damaged_checkpoint_is_named(pixels, tmp_path):
    tune(pixels, tmp_path)
    (tmp_path / LAST).write_bytes(b"PK\x03\x04 no")
    with pytest.raises(ValueError, match=r"last\.pt is no checkpoint.*remove it"):
        tune(pixels, tmp_path)


@pytest.mark.promise("whole-files")
@pytest.mark.parametrize("name", [LAST, BEST, HISTORY])
def test_files_of_another_program_stay(pixels, tmp_path, name):
    """Others call their files last.pt and metrics.jsonl, too."""
    if name == LAST:
        torch.save({"epoch": 3, "model": {"w": torch.zeros(2)}}, tmp_path / name)
    else:
        (tmp_path / name).write_bytes(b"mine")
    before = (tmp_path / name).read_bytes()
    with pytest.raises((FileExistsError, ValueError), match=rf"{name} is.*move it away"):
        tune(pixels, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: before}


@pytest.mark.promise("whole-files")
def test_a_run_killed_before_its_first_checkpoint_goes_on(pixels, tmp_path, monkeypatch):
    whole, _ = tune(pixels, tmp_path / "whole")
    monkeypatch.setattr(module, "write_checkpoint", lambda *_: (_ for _ in ()).throw(Killed))
    with pytest.raises(Killed):
        tune(pixels, tmp_path / "cut")
    assert [path.name for path in (tmp_path / "cut").iterdir()] == [BEST]
    monkeypatch.undo()
    again, _ = tune(pixels, tmp_path / "cut")
    assert torch.equal(weights(whole), weights(again))


def test_out_of_memory_halves_the_micro_batch(pixels, tmp_path, monkeypatch):
    settings = replace(PLAIN, batchnorm="frozen")
    whole, _ = tune(pixels, tmp_path / "a", settings)
    real = Tiny.forward

    def forward(self, pictures):
        if self.training and len(pictures) > 5:
            raise torch.cuda.OutOfMemoryError("no room")
        return real(self, pictures)

    monkeypatch.setattr(Tiny, "forward", forward)
    with pytest.warns(UserWarning, match="out of memory at step 0: on with"):
        small, done = tune(pixels, tmp_path / "b", settings)
    assert done.micro_batch == 4
    assert torch.allclose(weights(whole), weights(small), atol=1e-5)


def test_a_single_image_that_does_not_fit_is_an_error(pixels, tmp_path, monkeypatch):
    def forward(self, pictures):
        raise torch.cuda.OutOfMemoryError("no room")

    monkeypatch.setattr(Tiny, "forward", forward)
    with pytest.raises(torch.cuda.OutOfMemoryError), pytest.warns(UserWarning, match="on with 1"):
        tune(pixels, tmp_path)


def test_a_loss_that_is_not_finite_names_step_and_images(pixels, tmp_path, monkeypatch):
    real = step_module.summed_loss

    def broken(net, images, *given):
        loss = real(net, images, *given)
        last = images.shape[0] == 12 and net.training  # an epoch's last batch
        return loss * float("nan") if last else loss

    monkeypatch.setattr(step_module, "summed_loss", broken)
    first = Schedule(60, PLAIN).places(3)
    ids = ", ".join(pixels.ids[row] for row in first[:5].tolist())
    with pytest.raises(FloatingPointError, match=rf"step 3 \(epoch 1\), images {ids} and 7 more"):
        tune(pixels, tmp_path)
    assert not (tmp_path / LAST).exists()  # nothing broken was kept


def test_selection_by_macro_f1(pixels, tmp_path):
    _, done = tune(pixels, tmp_path, replace(PLAIN, select="macro_f1"))
    assert done.best == max(row["val_macro_f1"] for row in done.history)


@pytest.mark.parametrize(
    ("rows", "val", "words"),
    [
        (range(60), [], "no val images"),
        ([], range(3), "no train images"),
        (range(96), range(3), "train labels go from -1 to 2"),
    ],
)
def test_rows_that_cannot_be_used(pixels, tmp_path, rows, val, words):
    with pytest.raises(ValueError, match=words):
        tune(pixels, tmp_path, rows=list(rows), val=list(val))


def test_global_random_numbers_stay_as_they_were(pixels, tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    tune(pixels, tmp_path)
    assert torch.equal(torch.rand(3), expected)


def test_two_processes_give_the_result_of_one(pixels, tmp_path):
    """61 images in batches of 15: the last step has one image, so one process has none.

    Started by PyTorch: `accelerate launch --cpu --num_processes=2` (1.15.0) starts one process.
    """
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, torch\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[3])!r})\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from tests.models.tuning.test_finetune import HOW, PLAIN, Normed, make, tune, weights\n"
        "from duokit.models.pixels import Pixels\n"
        "place = Path(sys.argv[1])\n"
        "stored = torch.load(place / 'pixels.pt', weights_only=True)\n"
        "pixels = Pixels(stored['values'], stored['labels'], tuple(stored['ids']), HOW)\n"
        "settings = replace(PLAIN, batch=15, batchnorm='frozen', clip=1.0)\n"
        "model, _ = tune(pixels, place / 'two', settings, make(Normed), range(61), range(61, 90))\n"
        "auto = replace(settings, epochs=1, batchnorm='auto')\n"
        "_, done = tune(pixels, place / 'auto', auto, make(Normed), range(61), range(61, 90))\n"
        "rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()\n"
        "said = {'world': world, 'weights': weights(model), 'trials': done.trials}\n"
        "torch.save(said, place / f'rank-{rank}.pt')\n"
    )
    stored = {"values": pixels.values, "labels": pixels.labels, "ids": list(pixels.ids)}
    torch.save(stored, tmp_path / "pixels.pt")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    launch += ["--standalone", str(script), str(tmp_path)]  # at any port that is free
    here = "lo0" if sys.platform == "darwin" else "lo"  # talk within this machine
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": here}
    found = subprocess.run(
        launch, env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert found.returncode == 0, found.stderr[-3000:]
    children = [torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert [child["world"] for child in children] == [2, 2]
    settings = replace(PLAIN, batch=15, batchnorm="frozen", clip=1.0)
    one, done = tune(pixels, tmp_path / "one", settings, make(Normed), range(61), range(61, 90))
    two, again = tune(
        pixels, tmp_path / "two", settings, make(Normed), range(61), range(61, 90)
    )  # finished already: reads what the two processes wrote
    for found in (weights(two), *(child["weights"] for child in children)):
        assert torch.allclose(weights(one), found, rtol=0, atol=1e-6)  # sums in another order
    for ours, theirs in zip(done.history, again.history, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], abs=1e-6)
        assert ours["val_nll"] == pytest.approx(theirs["val_nll"], abs=1e-6)
    auto = replace(settings, epochs=1, batchnorm="auto")
    _, alone = tune(pixels, tmp_path / "alone", auto, make(Normed), range(61), range(61, 90))
    assert children[0]["trials"] == children[1]["trials"]  # they cannot disagree
    assert children[0]["trials"] == pytest.approx(alone.trials, abs=1e-6)
    assert set(alone.trials) == {"frozen", "train"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_bfloat16_is_undone_at_the_end(pixels, tmp_path):
    model = make()
    fine_tune(
        model, pixels, replace(PLAIN, precision="bf16"), train=torch.arange(60),
        val=torch.arange(60, 90), folder=tmp_path, device="cuda", progress=False,
    )  # fmt: skip
    logits = predict(model, pixels, rows=range(3), progress=False)
    rounded = torch.from_numpy(logits).bfloat16().float().numpy()
    assert (logits != rounded).any()


def test_a_process_killed_twice_ends_with_the_same_bits(pixels, tmp_path):
    """As benchmarks/kills.py does, at ten random moments; here after the first and third epoch."""
    script = tmp_path / "run.py"
    script.write_text(
        "import sys, torch\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[3])!r})\n"
        "from dataclasses import replace\n"
        "from pathlib import Path\n"
        "from tests.models.tuning.test_finetune import HOW, PLAIN, Normed, make, tune\n"
        "from duokit.models.pixels import Pixels\n"
        "torch.set_num_threads(1)\n"
        "stored = torch.load(sys.argv[1], weights_only=True)\n"
        "pixels = Pixels(stored['values'], stored['labels'], tuple(stored['ids']), HOW)\n"
        "settings = replace(PLAIN, epochs=12, mixup=0.3, save_minutes=0.0)\n"
        "tune(pixels, Path(sys.argv[2]), settings, make(Normed, 0.5))\n"
    )
    stored = {"values": pixels.values, "labels": pixels.labels, "ids": list(pixels.ids)}
    torch.save(stored, tmp_path / "pixels.pt")
    words = [sys.executable, str(script), str(tmp_path / "pixels.pt"), str(tmp_path / "cut")]
    history = tmp_path / "cut" / HISTORY
    for epochs in (1, 3):
        child = subprocess.Popen(words)
        while child.poll() is None:
            if history.is_file() and len(history.read_text().splitlines()) >= epochs:
                child.kill()
                break
            time.sleep(0.002)
        assert child.wait() == -signal.SIGKILL  # it had not ended
    settings = replace(PLAIN, epochs=12, mixup=0.3)
    whole, done = tune(pixels, tmp_path / "whole", settings, make(Normed, 0.5))
    assert 3 <= len(history.read_text().splitlines()) < 13
    again, resumed = tune(pixels, tmp_path / "cut", settings, make(Normed, 0.5))
    assert torch.equal(weights(whole), weights(again))
    for ours, theirs in zip(done.history, resumed.history, strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
