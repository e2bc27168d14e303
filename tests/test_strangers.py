"""The promise to rerunners: every chapter that takes logits runs on records of a stranger.

The records are made by `make_record` from logits, labels and ids; each set is odd in one way. Here
every chapter meets the sets that touch what only it does. `DUOKIT_EVERY_RECORD=1 pytest
tests/test_strangers.py` runs every chapter on every set (about ten minutes).
"""

import os
import re

import pytest

from tests.strangers import NOTEBOOKS, SETS, run_chapter, write

pytestmark = pytest.mark.promise("any-records")

# Chapter -> sets that it meets in each test run.
CHAPTERS = {
    "duo_in_five_minutes": [
        *("bare", "useless sidekick", "useless large", "both useless", "three images"),
        *("many classes", "constant", "one image"),
    ],
    "measuring_uncertainty": ["two classes", "three images", "no error", "given twice"],
    "caltech101": ["bare", "large is the cheapest", "no error", "no command", "one cost"],
    "fashion_mnist": ["bare", "equal costs", "given twice"],
    "elpv": ["bare", "absent class", "one image"],
    "pairs": ["bare", "one model", "equal costs"],
}
# Chapter -> data set, name of its tested split, and the authors' names of large model and sidekick.
BENCHMARKS = {
    "imagenet": ("imagenet", "test", "ConvNeXt_Base", "EfficientNet_B2"),
    "imagenet_v2": ("imagenet_v2", "shifted", "ConvNeXt_Base", "EfficientNet_B2"),
    "caltech256": ("caltech256", "test", "ConvNeXt_Base", "EfficientNet_B2"),
    "iwildcam": ("iwildcam", "test", "Swin_V2_B", "EfficientNet_B2"),
    "iwildcam_shifted": ("iwildcam", "shifted", "Swin_V2_B", "EfficientNet_B2"),
}
FEW = [(name, odd) for name, sets in CHAPTERS.items() for odd in sets]
FEW += [("imagenet", "many classes"), ("imagenet_v2", "bare"), ("caltech256", "no error")]
FEW += [("iwildcam", "one image"), ("iwildcam_shifted", "useless sidekick"), ("imagenet", "bare")]
EVERY = [(name, odd) for name in (*CHAPTERS, *BENCHMARKS) for odd in SETS]
CASES = EVERY if os.environ.get("DUOKIT_EVERY_RECORD") else FEW


def test_every_chapter_that_takes_logits_is_here():
    found = {
        path.stem
        for path in NOTEBOOKS.glob("*.ipynb")
        if re.search(r'"logits: str = ', path.read_text(encoding="utf-8"))
    }
    assert found == {*CHAPTERS, *BENCHMARKS}


def given(name, odd, root):
    """Write the records of a set where the chapter looks for them; return its parameters."""
    strange, values = SETS[odd], {"logits": str(root), "resamples": 100}
    if name not in BENCHMARKS:
        write(root, strange)
        if name == "pairs":
            return values | {"others": str(root)}
        return values | dict(zip(("large", "small"), strange.pair, strict=True))
    data, tested, *networks = BENCHMARKS[name]
    names = dict(zip(("my-large", "my-small"), networks, strict=True))
    first = "imagenet" if data == "imagenet_v2" else data
    for split, where in (("val", first), (tested, data)):
        some = {split: strange.parts.get(split, strange.parts["test"])}
        models = {key: one for key, one in strange.models.items() if key in names}
        odd_part = type(strange)(models, some, strange.classes, strange.absent)
        write(root / where, odd_part, dataset=where, names=names)
    return values | {"any_pictures": True}


@pytest.mark.parametrize(("name", "odd"), CASES)
def test_chapters_run_on_a_strangers_records(name, odd, tmp_path):
    shown = run_chapter(name, given(name, odd, tmp_path))
    sentences = [text for text in shown if "\n" not in text]
    assert not [text for text in sentences if re.search(r"\b(nan|None|inf)\b", text)]
    assert len(sentences) > 2


def test_other_pictures_are_compared_only_when_asked(tmp_path):
    values = given("imagenet", "three images", tmp_path) | {"any_pictures": False}
    (told,) = [text for text in run_chapter("imagenet", values) if "are not compared" in text]
    assert "3 images of 5 classes, the authors' 2,500 of 1,000" in told
    assert "`any_pictures = True` compares them" in told
