"""Soups of a sweep: which trials are in them, and what the records say of each."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from duokit.images import make_splits
from duokit.models import predict, reestimate_batchnorm, uniform_soup
from duokit.models.tuning.checkpoint import BEST
from duokit.models.tuning.finetune import val_scores
from duokit.models.tuning.settings import FineTune
from duokit.models.tuning.soup import average
from duokit.models.tuning.souped import soup_records
from duokit.models.tuning.space import Search, Space
from duokit.models.tuning.sweep import ingredients, sweep
from duokit.models.tuning.tuned import prepare

SETTINGS = FineTune(
    "test_efficientnet", resolution=16, pretrained="none", probe=False, epochs=3, batch=16,
    select="macro_f1",
)  # fmt: skip


class Swept:
    """A sweep of three trials over a small task."""

    def __init__(self, images, folder, settings) -> None:
        self.images, self.folder, self.settings = images, folder, settings
        self.splits = make_splits(images, train=15, val=10, seed=0)
        self.start = prepare(images, self.splits, settings, device="cpu", progress=False)
        self.table = sweep(
            self.start, images, self.splits, settings, folder, device="cpu", progress=False,
            search=Search(3, Space(lr=(1e-4, 1e-2)), searcher="random"), command="swept",
        )  # fmt: skip
        self.states = [load_file(folder / f"trial-00{number}" / BEST) for number in range(3)]

    def soup(self, kind, **options):
        options = {"settings": self.settings, "dtype": "float32", "device": "cpu"} | options
        settings = options.pop("settings")
        return soup_records(
            replace(self.start, model=self.model(self.states[0])), self.images, self.splits,
            settings, self.folder, kind=kind, command="souped", progress=False, **options,
        )  # fmt: skip

    def model(self, state):
        model = prepare(
            self.images, self.splits, self.settings, device="cpu", progress=False
        ).model.eval()
        model.load_state_dict(state)
        return model

    def logits(self, state, part="val", again=True):
        """Returns what a network with these weights says, its statistics estimated again or not."""
        model, pixels = self.model(state), self.start.pixels
        if again:
            reestimate_batchnorm(
                model, [pixels.normalised(pixels.values[self.start.rows["train"]])]
            )
        rows = self.start.rows[part].numpy()
        return predict(model, pixels, rows=rows, device="cpu", progress=False)

    def score(self, state):
        labels = self.start.pixels.labels[self.start.rows["val"]]
        return val_scores(torch.from_numpy(self.logits(state)), labels)["macro_f1"]


@pytest.fixture
def swept(stripes, tmp_path) -> Swept:
    return Swept(stripes, tmp_path, SETTINGS)


def test_a_uniform_soup_is_the_mean_of_the_trials(swept):
    records = swept.soup("uniform")
    assert set(records) == {"val", "test"}
    mean = average(swept.states)
    for part, record in records.items():
        assert np.abs(record.logits - swept.logits(mean, part)).max() < 1e-3
    config = records["test"].config
    assert config["method"] == "uniform of 3 fine-tuned networks"
    assert config["command"] == "souped"
    assert config["sweep"]["command"] == "swept"
    assert config["sweep"]["space"]["lr"] == [1e-4, 1e-2]
    assert config["val_score"] == pytest.approx(swept.score(mean))
    assert [each["accepted"] for each in config["ingredients"]] == [True] * 3
    assert [each["change"] for each in config["ingredients"]] == [None] * 3


def test_a_greedy_soup_says_what_each_trial_did(swept):
    """The same by hand: best first, each stays if the score of the mean with it is no lower."""
    record = swept.soup("greedy")["val"]
    order = ingredients(swept.folder)[1].index.tolist()
    chosen, best = [], -1.0
    for number, each in zip(order, record.config["ingredients"], strict=True):
        row = swept.table.loc[number]
        assert (each["trial"], each["lr"]) == (number, row["lr"])
        assert (each["weight_decay"], each["val_score"]) == (row["weight_decay"], row["score"])
        score = swept.score(average([swept.states[n] for n in [*chosen, number]]))
        assert each["soup_score"] == pytest.approx(score)
        assert each["change"] == pytest.approx(score - best if chosen else 0.0)
        assert each["accepted"] == (score >= best)
        if score >= best:
            best, chosen = score, [*chosen, number]
    again = len(chosen) > 1
    logits = swept.logits(average([swept.states[number] for number in chosen]), again=again)
    assert np.abs(record.logits - logits).max() < 1e-3
    expected = best if again else swept.table.loc[order[0], "score"]
    assert record.config["val_score"] == pytest.approx(expected)


def test_the_best_run_is_that_network_as_it_is(swept):
    record = swept.soup("best")["val"]
    best = swept.table["score"].idxmax()
    assert np.abs(record.logits - swept.logits(swept.states[best], again=False)).max() < 1e-3
    assert record.config["val_score"] == swept.table["score"].max()
    found = [(each["trial"], each["accepted"]) for each in record.config["ingredients"]]
    assert found[0] == (best, True)
    assert [accepted for _, accepted in found] == [True, False, False]


def test_frozen_statistics_stay_those_of_the_start(stripes, tmp_path):
    swept = Swept(stripes, tmp_path, SETTINGS.replace(batchnorm="frozen"))
    record = swept.soup("uniform")["val"]
    mean = uniform_soup(swept.states).state
    assert np.abs(record.logits - swept.logits(mean, again=False)).max() < 1e-3
    assert np.abs(record.logits - swept.logits(mean, again=True)).max() > 1e-2


def test_another_sweep_or_kind_is_refused(swept, tmp_path):
    with pytest.raises(ValueError, match="kind is 'mean'; expected one of greedy, uniform, best"):
        swept.soup("mean")
    with pytest.raises(ValueError, match="holds a sweep with epochs = 3, this one has 4"):
        swept.soup("best", settings=SETTINGS.replace(epochs=4))
    swept.folder = tmp_path / "nothing"
    with pytest.raises(FileNotFoundError, match="holds no sweep"):
        swept.soup("best")
