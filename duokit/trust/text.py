"""Attribution for texts: on which words does a classifier's answer hang? The paper's own setting.

A text classifier is any function from a list of n texts to (n, k) probabilities. Its parts are the
different words of a text, found by one rule, so two classifiers with tokenisers of their own are
explained over the same words; a word that is replaced is taken out wherever it stands. The maps go
into `duokit.trust.alignment` as those of pictures do: NaN fills up texts with fewer words.

The paper compares google-bert/bert-base-uncased with distilbert/distilbert-base-uncased,
google/bert_uncased_L-8_H-512_A-8 (Medium), google/bert_uncased_L-4_H-256_A-4 (Mini) and
google/bert_uncased_L-2_H-128_A-2 (Tiny), each fine-tuned on the data sets stanfordnlp/snli and
nyu-mll/glue (qqp); these are their names at Hugging Face, where pre-trained weights have no head
yet. With a network and the package transformers, a fine-tuned one becomes a function like this::

    pipe = pipeline("text-classification", model="path/of/the/fine-tuned/model", top_k=None)

    def predict(texts):
        found = pipe(list(texts))
        return [[s["score"] for s in sorted(f, key=lambda s: s["label"])] for f in found]

For pairs of sentences (premise and hypothesis) join both by a mark that is no word, such as " | ",
and cut there again inside the function.

Source: arXiv 2508.13533: LIME with 1,000 samples, 20 words, k = 10, of the true class.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
import torch

from duokit.trust.explainers import Explainer, Name, attribute, seed_of

Predict = Callable[[list[str]], Any]
WORD = re.compile(r"\w+(?:['’]\w+)*")
PACKAGES = ("numpy", "pandas", "scipy.stats", "sklearn", "torch")
SUBMODULES = {
    "sklearn": ("cluster", "datasets", "decomposition", "ensemble", "linear_model", "metrics"),
    "torch": ("nn", "nn.functional", "optim", "distributions", "linalg"),
    "pandas": ("api.types", "tseries.offsets"),
    "numpy": ("linalg", "fft", "ma", "polynomial", "char"),
}
SHORTEST = 6  # words that a sentence of the corpus has at least


class TextMaps(NamedTuple):
    """Words and their numbers.

    Attributes:
        values: (n, most words) float32; NaN where a text has fewer words.
        words: n tuples, the different words of each text in the order of the columns.
    """

    values: np.ndarray
    words: tuple[tuple[str, ...], ...]


class Corpus(NamedTuple):
    """Sentences and where they come from.

    Attributes:
        texts: n sentences.
        labels: (n,) int64, the number of the package.
        class_names: k names of packages.
    """

    texts: tuple[str, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]


def words_of(text: str) -> tuple[str, ...]:
    """Returns the different words of a text, each where it stands first, capitals kept apart.

    Args:
        text: any.
    """
    return tuple(dict.fromkeys(WORD.findall(text)))


def without_words(text: str, gone: set[str]) -> str:
    """Returns the text with these words taken out wherever they stand; all else stays.

    Args:
        text: any.
        gone: words, as `words_of` gives them.
    """
    return WORD.sub(lambda found: "" if found[0] in gone else found[0], text)


def explain_texts(
    predict: Predict,
    texts: Sequence[str],
    targets: Sequence[int] | np.ndarray,
    *,
    explainer: Explainer | Name = "lime",
    seed: int = 0,
    batch: int = 256,
) -> TextMaps:
    """Returns for each text its words, and a number each: positive where it speaks for the class.

    A text's numbers depend on the classifier, the text and the seed, not on the other texts, and
    with one seed every classifier is asked about the same shortened texts.

    Args:
        predict: from a list of m texts to (m, k) probabilities (or any scores to explain).
        texts: n texts, each with a word at least.
        targets: (n,) the class that is asked about, for each text.
        explainer: "lime", "kernel_shap" (Shapley values by sampling) or "occlusion" (each word
            taken out once), or an `Explainer` with options.
        seed: of the random changes.
        batch: texts at a time.

    Raises:
        ModuleNotFoundError: captum is not installed.
        ValueError: an explainer that needs gradients, no texts, a text without a word, another
            number of targets, or outputs of another form.
    """
    how = Explainer(explainer) if isinstance(explainer, str) else explainer
    if how.gradients:
        raise ValueError(f"{how.name} needs gradients: take lime, kernel_shap or occlusion")
    if not len(texts) or len(texts) != len(targets):
        raise ValueError(f"{len(texts)} texts and {len(targets)} targets; expected one for each")
    words = tuple(words_of(text) for text in texts)
    values = np.full((len(texts), max(map(len, words))), np.nan, dtype=np.float32)
    for row, (text, own) in enumerate(zip(texts, words, strict=True)):
        if not own:
            raise ValueError(f"text {row} has no word: {text!r}")

        def of_presence(
            z: torch.Tensor,
            text: str = text,
            own: tuple[str, ...] = own,
            label: int = int(targets[row]),
        ) -> torch.Tensor:
            absent = z.cpu().numpy() < 0.5
            asked = [
                without_words(text, {w for w, gone in zip(own, each, strict=True) if gone})
                for each in absent
            ]
            found = np.asarray(predict(asked), dtype=np.float64)
            if found.ndim != 2 or len(found) != len(asked) or not 0 <= label < found.shape[1]:
                raise ValueError(
                    f"predict gave an array of shape {found.shape} for {len(asked)} texts; "
                    f"expected (texts, classes), class {label} among them"
                )
            return torch.from_numpy(found[:, label]).float()

        values[row, : len(own)] = attribute(
            of_presence, len(own), explainer=how, seed=seed_of(seed, text.encode()), batch=batch
        )
    return TextMaps(values, words)


def docstring_corpus(packages: Sequence[str] = PACKAGES[:3]) -> Corpus:
    """Returns first sentences of docstrings of installed packages; the class is the package.

    Real English sentences with labels that need neither a network nor an annotator: which package
    does a sentence describe? Sentences of fewer than 6 words, those that name a package of the
    corpus, and those that two packages share are left out. The texts change with the versions of
    the packages, so numbers made from them do as well.

    Args:
        packages: names of installed packages.

    Raises:
        ModuleNotFoundError: a package is not installed.
        ValueError: fewer than two packages.
    """
    if len(packages) < 2:
        raise ValueError(f"packages are {list(packages)}; a classifier needs two or more")
    names = {part for package in packages for part in package.lower().split(".")}
    found = {package: _sentences(package, names) for package in packages}
    texts: list[str] = []
    labels: list[int] = []
    for label, package in enumerate(packages):
        others = set().union(*(found[other] for other in packages if other != package))
        own = sorted(found[package] - others)
        texts += own
        labels += [label] * len(own)
    return Corpus(tuple(texts), np.array(labels, dtype=np.int64), tuple(packages))


def _sentences(package: str, names: set[str]) -> set[str]:
    """Returns the first sentences of what a package offers, and of its classes' methods."""
    spots = [package, *(f"{package}.{each}" for each in SUBMODULES.get(package, ()))]
    things: list[Any] = []
    for spot in spots:
        held = [v for n, v in inspect.getmembers(import_module(spot)) if not n.startswith("_")]
        things += held
        for each in held:
            if inspect.isclass(each):
                things += [v for n, v in vars(each).items() if not n.startswith("_")]
    found = set()
    for each in things:
        if not callable(each) or not isinstance(each.__doc__, str):
            continue
        paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(each.__doc__))
        for paragraph in paragraphs[:2]:  # the first may be a signature
            sentence = " ".join(paragraph.split()).split(". ")[0]
            words = [word.lower() for word in WORD.findall(sentence)]
            if (
                len(words) >= SHORTEST
                and not names & set(words)
                and not re.search(r"\(|--", sentence)
            ):
                found.add(sentence)
                break
    return found
