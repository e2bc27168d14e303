"""A soup is the mean of its ingredients, and greedy ones keep what does not harm."""

import copy
import dataclasses
import itertools

import pytest
import torch
from torch import nn

from duokit.models.tuning.soup import (
    Soup,
    average,
    greedy_soup,
    reestimate_batchnorm,
    uniform_soup,
)


def state(first: float, second: float = 0.0, count: int = 3) -> dict[str, torch.Tensor]:
    return {"w": torch.tensor([[float(first), second]]), "n": torch.tensor(count)}


def distance_to(target: float):
    """Return a val metric: highest where the first weight is at the target."""
    return lambda soup: -abs(float(soup["w"][0, 0]) - target)


class Net(nn.Module):
    """Two BatchNorm layers, one behind the other, and dropout between."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.stem = nn.Conv2d(3, 4, 3)
            self.norm = nn.BatchNorm2d(4)
            self.drop = nn.Dropout(0.5)
            self.fc = nn.Linear(4, 3)
            self.last = nn.BatchNorm1d(3, momentum=0.3)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        inner = self.drop(self.norm(self.stem(pictures))).relu().mean(dim=(2, 3))
        return self.last(self.fc(inner))


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(12, 3, 6, 6, generator=torch.Generator().manual_seed(1)) * 3 + 1


def test_the_average_by_hand():
    found = average([state(1, 8), state(3, -2), state(5, 0)])
    assert found["w"].tolist() == [[3.0, 2.0]]


def test_the_average_of_copies_is_the_copy():
    one = Net().state_dict()
    found = average([one, one, one])
    assert list(found) == list(one)
    for key, value in one.items():
        assert found[key].dtype == value.dtype
        assert torch.equal(found[key], value), key


def test_the_average_does_not_share_memory_with_the_ingredients():
    one = Net().state_dict()
    before = copy.deepcopy(one)
    for value in average([one]).values():
        value.add_(1)
    assert all(torch.equal(one[key], before[key]) for key in one)


def test_order_does_not_matter():
    states = [Net(seed).state_dict() for seed in range(4)]
    expected = average(states)
    for order in itertools.permutations(states):
        found = average(order)
        assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_sums_are_in_float64():
    # In float32 the ones are lost next to 2^25; float16 would overflow.
    large = torch.tensor([[2.0**25]])
    found = average([{"w": large}, {"w": torch.ones(1, 1)}, {"w": torch.ones(1, 1)}, {"w": -large}])
    assert found["w"].item() == 0.5
    halves = average([{"w": torch.tensor([60000.0], dtype=torch.float16)}] * 3)
    assert halves["w"].dtype == torch.float16
    assert halves["w"].item() == 60000


def test_integers_stay_those_of_the_first():
    found = average([state(1, count=7), state(2, count=8)])
    assert found["n"].dtype == torch.int64
    assert found["n"].item() == 7


def test_infinite_entries_survive():
    mask = {"mask": torch.tensor([0.0, -torch.inf])}
    found = greedy_soup([mask, mask], [1, 1], lambda soup: float(soup["mask"][0]))
    assert found.state["mask"].tolist() == [0.0, -torch.inf]
    assert found.chosen == (0, 1)


@pytest.mark.parametrize("make", [average, uniform_soup, lambda s: greedy_soup(s, [0] * len(s), 0)])
def test_no_state_is_refused(make):
    with pytest.raises(ValueError, match="no states"):
        make([])


@pytest.mark.parametrize(
    ("other", "error", "text"),
    [
        ({"w": torch.ones(1, 2)}, ValueError, "state 2 and state 0.*only one has 'n'"),
        (state(1) | {"x": torch.ones(1)}, ValueError, "state 2 and state 0.*only one has 'x'"),
        (state(1) | {"w": torch.ones(2, 1)}, ValueError, r"'w' has shape \(2, 1\) and \(1, 2\)"),
        (state(1) | {"w": torch.ones(1, 2).long()}, TypeError, "'w' is torch.int64"),
        (state(1) | {"w": torch.ones(1, 2) * 1j}, TypeError, "'w' is torch.complex64"),
        (state(float("nan")), ValueError, "state 2: 'w' has NaN"),
    ],
)
@pytest.mark.parametrize("how", ["average", "uniform", "greedy"])
def test_what_cannot_be_averaged_is_named(other, error, text, how):
    states = [state(1), state(2), other]
    with pytest.raises(error, match=text):
        {
            "average": lambda: average(states),
            "uniform": lambda: uniform_soup(states),
            "greedy": lambda: greedy_soup(states, [3, 2, 1], distance_to(1)),
        }[how]()


def test_a_first_state_with_nan_is_named():
    with pytest.raises(ValueError, match="state 0: 'w' has NaN"):
        average([state(float("nan")), state(1)])


def test_a_uniform_soup_has_all():
    found = uniform_soup([state(1), state(2), state(6)])
    assert isinstance(found, Soup)
    assert found.state["w"][0, 0].item() == 3
    assert (found.chosen, found.score, found.path) == ((0, 1, 2), None, ())
    assert uniform_soup([state(1), state(2)], evaluate=distance_to(2)).score == -0.5


def test_a_greedy_soup_by_hand():
    # Towards 3: start at 2 (-1); with 5: 3.5 (-0.5) stays; with 9: 5.3 no; with 2.5: 3.17 stays.
    states = [state(9), state(2), state(2.5), state(5)]
    found = greedy_soup(states, [0.2, 0.9, 0.1, 0.5], distance_to(3))
    assert found.chosen == (1, 3, 2)
    assert found.state["w"][0, 0].item() == pytest.approx(9.5 / 3)
    assert found.score == pytest.approx(-0.5 / 3)
    assert [taste.ingredient for taste in found.path] == [1, 3, 0, 2]
    assert [taste.own_score for taste in found.path] == [0.9, 0.5, 0.2, 0.1]
    assert [taste.accepted for taste in found.path] == [True, True, False, True]
    assert [taste.score for taste in found.path] == pytest.approx([-1, -0.5, -7 / 3, -0.5 / 3])
    assert [taste.change for taste in found.path] == pytest.approx([0, 0.5, -11 / 6, 1 / 3])


def test_equal_scores_go_by_order_and_an_equal_metric_stays():
    found = greedy_soup([state(1), state(2), state(3)], [1, 2, 2], lambda soup: 0.5)
    assert found.chosen == (1, 2, 0)
    assert [taste.change for taste in found.path] == [0, 0, 0]


def test_a_harmful_ingredient_leaves_no_trace():
    states = [state(0.1, 0.3), state(1e7, 1e7), state(-5, 4)]
    found = greedy_soup(states, [3, 2, 1], distance_to(0.1), least_cosine=-1)
    assert found.chosen == (0,)
    assert torch.equal(found.state["w"], states[0]["w"])


@pytest.mark.parametrize("seed", range(5))
def test_greedy_is_never_below_its_best_ingredient(seed):
    random = torch.Generator().manual_seed(seed)
    values = torch.rand(6, generator=random).tolist()
    states = [state(value, 1) for value in values]
    metric = distance_to(float(torch.rand(1, generator=random)))
    scores = [metric(each) for each in states]
    found = greedy_soup(states, scores, metric)
    assert found.score >= max(scores)
    assert found.score == metric(found.state)
    chosen = average([states[place] for place in found.chosen])
    assert torch.equal(found.state["w"], chosen["w"])


def test_what_evaluate_does_to_a_state_stays_there():
    def spoil(soup: dict[str, torch.Tensor]) -> float:
        for value in soup.values():
            value.zero_()
        return 1.0

    found = greedy_soup([state(1), state(3)], [1, 0], spoil)
    assert found.state["w"][0, 0].item() == 2
    assert found.state["n"].item() == 3


def test_states_are_read_once_and_may_be_lazy():
    class Files:
        read: list[int] = []  # noqa: RUF012

        def __len__(self) -> int:
            return 3

        def __getitem__(self, place: int) -> dict[str, torch.Tensor]:
            self.read.append(place)
            return state(place + 1)

    files = Files()
    assert greedy_soup(files, [1, 3, 2], lambda soup: 0.0).chosen == (1, 2, 0)
    assert files.read == [1, 2, 0]
    assert uniform_soup(files).state["w"][0, 0].item() == 2
    assert files.read[3:] == [0, 1, 2]


@pytest.mark.parametrize("scores", [[1.0], [1.0, float("nan")], [1.0, -float("inf")]])
def test_scores_must_fit(scores):
    with pytest.raises(ValueError, match=r"1 scores for 2 states|ingredient 1 is"):
        greedy_soup([state(1), state(2)], scores, distance_to(1))


def test_a_metric_that_is_not_finite_is_named():
    with pytest.raises(ValueError, match="the soup with ingredient 1 is nan"):
        greedy_soup(
            [state(1), state(3)], [1, 0], lambda soup: float("nan") if soup["w"][0, 0] > 1 else 1.0
        )
    with pytest.raises(ValueError, match="the soup is nan"):
        uniform_soup([state(1)], evaluate=lambda soup: float("nan"))


def test_ingredients_of_another_start_are_refused():
    start, other = (
        {"w": torch.randn(30, 30, generator=torch.Generator().manual_seed(seed)) + 0.1}
        for seed in (0, 1)
    )
    tuned = {"w": start["w"] + 0.3 * other["w"]}
    assert uniform_soup([start, tuned]).chosen == (0, 1)
    with pytest.raises(ValueError, match="state 2 comes from another start than state 0"):
        uniform_soup([start, tuned, other])
    with pytest.raises(ValueError, match="state 1 comes from another start than state 0"):
        greedy_soup([start, other], [1, 0], lambda soup: 1.0)
    with pytest.raises(ValueError, match="state 0 comes from another start than state 1"):
        greedy_soup([start, other], [0, 1], lambda soup: 1.0)
    assert greedy_soup([start, other], [1, 0], lambda soup: 1.0, least_cosine=-1).chosen == (0, 1)
    assert average([start, other])["w"].shape == (30, 30)


def test_a_soup_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        uniform_soup([state(1)]).score = 1.0


def whole_pass(model: nn.Module, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the statistics of one pass of all images, layer by layer, written out."""
    with torch.no_grad():
        inner = model.stem(pictures)
        mean, var = inner.mean(dim=(0, 2, 3)), inner.var(dim=(0, 2, 3))
        biased = inner.var(dim=(0, 2, 3), correction=0)
        shape = (1, -1, 1, 1)
        scaled = (inner - mean.view(shape)) / (biased.view(shape) + model.norm.eps).sqrt()
        scores = model.fc(scaled.relu().mean(dim=(2, 3)))
    return {
        "norm.running_mean": mean,
        "norm.running_var": var,
        "last.running_mean": scores.mean(0),
        "last.running_var": scores.var(0),
    }


def test_statistics_are_those_of_one_whole_pass(pictures):
    model = Net().eval()
    before = copy.deepcopy(model.state_dict())
    expected = whole_pass(model, pictures)
    assert reestimate_batchnorm(model, [pictures]) == 2
    after = model.state_dict()
    for key, value in before.items():
        torch.testing.assert_close(after[key], expected.get(key, value), rtol=1e-5, atol=1e-6)


def test_equal_batches_are_averaged_as_pytorch_does(pictures):
    model, other = Net(), Net()
    batches = list(pictures.split(4))
    reestimate_batchnorm(model, batches)
    other.drop.p = 0.0
    torch.optim.swa_utils.update_bn(batches, other)
    for name in ("norm", "last"):
        for entry in ("running_mean", "running_var"):
            found, expected = (getattr(getattr(net, name), entry) for net in (model, other))
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_a_small_last_batch_counts_for_less(pictures):
    model = Net()
    reestimate_batchnorm(model, [pictures[:10], pictures[10:]])
    expected = whole_pass(model, pictures)["norm.running_mean"]
    torch.testing.assert_close(model.norm.running_mean, expected, rtol=1e-5, atol=1e-6)


def test_what_is_no_running_statistic_stays(pictures):
    model = Net().train()
    model.drop.eval()
    model.norm.num_batches_tracked += 41
    modes = [module.training for module in model.modules()]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        before = torch.random.get_rng_state()
        reestimate_batchnorm(model, pictures.split(6))
        assert torch.equal(torch.random.get_rng_state(), before)  # dropout drew nothing
    assert [module.training for module in model.modules()] == modes
    assert (model.norm.momentum, model.last.momentum) == (0.1, 0.3)
    assert model.norm.num_batches_tracked.item() == 41
    assert model.norm.num_batches_tracked.dtype == torch.int64
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_network_without_batchnorm_reads_no_batch():
    def none_to_read():
        raise AssertionError("a batch was read")
        yield

    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, track_running_stats=False))
    before = copy.deepcopy(model.state_dict())
    assert reestimate_batchnorm(model, none_to_read()) == 0
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in before)


@pytest.mark.parametrize(("sizes", "text"), [((), "no batch"), ((5, 1), "batch 1 has 1 image")])
def test_batches_that_give_no_statistics_are_refused(sizes, text, pictures):
    model = Net().eval()
    with pytest.raises(ValueError, match=text):
        reestimate_batchnorm(model, [pictures[:size] for size in sizes])
    assert not any(module.training for module in model.modules())
    assert model.norm.momentum == 0.1
    assert model.norm.num_batches_tracked.item() == 0


def test_a_soup_of_real_networks_predicts(pictures):
    start = Net()
    states = []
    for seed in range(3):
        tuned = copy.deepcopy(start.state_dict())
        for value in tuned.values():
            if value.is_floating_point():
                value += 0.01 * torch.rand(
                    value.shape, generator=torch.Generator().manual_seed(seed)
                )
        states.append(tuned)

    def spread(soup: dict[str, torch.Tensor]) -> float:
        model = Net()
        model.load_state_dict(soup)
        reestimate_batchnorm(model, [pictures])
        with torch.no_grad():
            return float(model.eval()(pictures).var(dim=0, correction=1).mean())

    # The last layer normalises: with fresh statistics every soup has unit spread on these images.
    found = greedy_soup(states, [0.3, 0.2, 0.1], spread)
    assert found.score == pytest.approx(1, abs=0.05)
    fresh = Net()
    fresh.load_state_dict(found.state)
    assert fresh.norm.num_batches_tracked.dtype == torch.int64
