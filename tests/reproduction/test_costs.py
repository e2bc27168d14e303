import numpy as np
import pytest

from duokit import published
from duokit.reproduction import estimated_cost


def test_hours_by_hand():
    rate = published.throughput()["images_per_second"]
    found = estimated_cost("imagenet", ["ConvNeXt_Base", "EfficientNet_B2"])
    assert found.attrs["images"] == 50_000
    for name in ("ConvNeXt_Base", "EfficientNet_B2"):
        assert found.loc[name, "logits_hours"] == pytest.approx(50_000 / rate[name] / 3600)
        assert found.loc[name, "logits_gb"] == pytest.approx(0.1)
    assert found.loc["ConvNeXt_Base", "weights_gb"] == pytest.approx(0.3544)
    both = found.loc["together"]
    assert both["logits_hours"] == pytest.approx(found["logits_hours"].iloc[:2].sum())
    one_after_the_other = 1 / (1 / rate["ConvNeXt_Base"] + 1 / rate["EfficientNet_B2"])
    assert both["images_per_second"] == pytest.approx(one_after_the_other)
    assert (found["training_hours"] == 0).all()


def test_training_is_a_probe_and_three_passes_an_epoch():
    found = estimated_cost("caltech256", ["Swin_V2_B"])
    rate = published.throughput().loc["Swin_V2_B", "images_per_second"]
    assert found.loc["Swin_V2_B", "training_hours"] == pytest.approx(21_424 * 56 / rate / 3600)
    shifted = estimated_cost("iwildcam_shifted", ["Swin_V2_B"])
    assert shifted.attrs["images"] == 7314 + 42_791
    assert shifted.loc["Swin_V2_B", "training_hours"] > 4 * found.loc["Swin_V2_B", "training_hours"]


def test_unknown_rates_stay_unknown_and_unknown_models_are_refused():
    found = estimated_cost("imagenet", ["EfficientNet_B4", "ResNet50"])
    assert np.isnan(found.loc["EfficientNet_B4", "logits_hours"])
    assert np.isnan(found.loc["together", "logits_hours"])
    assert found.loc["together", "logits_gb"] == pytest.approx(0.2)
    with pytest.raises(ValueError, match="Caltech-256 has no model 'Swin_B'"):
        estimated_cost("caltech256", ["Swin_B"])
    with pytest.raises(ValueError, match="benchmark is 'mnist'"):
        estimated_cost("mnist", ["ResNet50"])


@pytest.mark.parametrize("benchmark", published.BENCHMARKS)
def test_every_benchmark_has_a_price(benchmark):
    pair = published.duos(benchmark).iloc[0]
    found = estimated_cost(benchmark, [pair["large"], pair["small"]])
    assert found.attrs["pictures_gb"] > 1
    assert found.loc["together"].notna().all()
