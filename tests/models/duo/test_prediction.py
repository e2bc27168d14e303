"""What a duo answers, from logits alone."""

import numpy as np
import pytest

from duokit.models.duo.prediction import Prediction

LOGITS = np.log(np.array([[0.2, 0.7, 0.1], [0.5, 0.2, 0.3]], np.float32))


def test_class_probabilities_and_confidence():
    found = Prediction.of(LOGITS, ["a.png", "b.png"], ("cat", "dog", "hen"))
    assert found.classes.tolist() == [1, 0]
    assert np.allclose(found.probs, np.exp(LOGITS), atol=1e-6)
    assert found.confidence.tolist() == [found.probs[0, 1], found.probs[1, 0]]
    assert found.probs.dtype == found.confidence.dtype == np.float64
    assert found.names == ["dog", "cat"]
    table = found.table()
    assert table["class"].to_dict() == {"a.png": "dog", "b.png": "cat"}
    assert table.loc["b.png", "confidence"] == pytest.approx(0.5)


def test_classes_without_names_are_numbers():
    assert Prediction.of(LOGITS, ["a", "b"], None).names == ["1", "0"]


def test_confidences_close_to_one_still_differ():
    sure = Prediction.of(np.array([[20, 0], [21, 0]], np.float32), ["a", "b"], None).confidence
    assert sure[0] < sure[1] < 1
