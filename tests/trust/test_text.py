"""Word-level attribution on real sentences: docstrings, and small scikit-learn classifiers."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from duokit.trust.alignment import alignment
from duokit.trust.explainers import Explainer
from duokit.trust.text import WORD, docstring_corpus, explain_texts, without_words, words_of

pytest.importorskip("captum")


def test_words_and_what_is_left_without_them():
    text = "Don't sum: sum_of the Sum, don't! Größe 2"
    assert words_of(text) == ("Don't", "sum", "sum_of", "the", "Sum", "don't", "Größe", "2")
    assert without_words(text, {"sum", "don't"}) == "Don't : sum_of the Sum, ! Größe 2"
    assert without_words(text, set()) == text
    assert words_of(" ... ") == ()


def of_words(slopes):
    """A classifier whose second score is a sum over the different words of a text."""

    def predict(texts):
        score = [sum(slopes.get(word, 0.0) for word in set(words_of(text))) for text in texts]
        return [[-each, each] for each in score]

    return predict


SLOPES = {"bad": -2.0, "good": 3.0, "very": 0.5}
TEXTS = ["very good and good", "bad", "neither good nor bad, very plain"]


@pytest.mark.parametrize("name", ["lime", "kernel_shap", "occlusion"])
def test_of_additive_scores_all_find_the_slopes(name):
    how = Explainer("lime", penalty=1e-4) if name == "lime" else Explainer(name)
    found = explain_texts(of_words(SLOPES), TEXTS, [1, 1, 0], explainer=how)
    assert found.words[0] == ("very", "good", "and")
    assert found.values.shape == (3, 6)
    for row, sign in enumerate((1, 1, -1)):
        expected = [sign * SLOPES.get(word, 0.0) for word in found.words[row]]
        own = found.values[row, : len(expected)]
        if len(expected) > 1 or name != "lime":
            assert own == pytest.approx(expected, abs=0.01)
        assert np.isnan(found.values[row, len(expected) :]).all()


def test_every_classifier_is_asked_about_the_same_texts():
    asked = {}
    for name in ("one", "other", "seed"):
        heard = asked.setdefault(name, [])

        def predict(texts, heard=heard):
            heard += texts
            return of_words(SLOPES)(texts)

        explain_texts(predict, TEXTS, [1] * 3, seed=int(name == "seed"), batch=50)
    assert asked["one"] == asked["other"] != asked["seed"]
    assert asked["one"][0] == TEXTS[0]
    assert len(asked["one"]) == 3 * 200


def test_texts_of_one_length_are_shortened_in_ways_of_their_own():
    lengths = []

    def predict(texts):
        lengths.append([len(words_of(text)) for text in texts])
        return of_words(SLOPES)(texts)

    explain_texts(predict, ["a b c d e", "f g h i j"], [1, 1], batch=200)
    assert lengths[0] != lengths[1]


def test_a_text_does_not_hang_on_the_others():
    options = {"explainer": Explainer("kernel_shap", samples=30), "seed": 5}
    model = of_words(SLOPES)
    whole = explain_texts(model, TEXTS, [1] * 3, **options)
    alone = explain_texts(model, TEXTS[2:], [1], **options)
    assert np.array_equal(whole.values[2:], alone.values)


@pytest.fixture(scope="module")
def corpus():
    return docstring_corpus()


def test_the_corpus_is_real_and_honest(corpus):
    assert corpus.class_names == ("numpy", "pandas", "scipy.stats")
    assert np.bincount(corpus.labels).min() > 100
    assert len(set(corpus.texts)) == len(corpus.texts) == len(corpus.labels)
    for text in corpus.texts:
        words = WORD.findall(text.lower())
        assert len(words) >= 6
        assert not {"numpy", "pandas", "scipy", "stats"} & set(words)
    again = docstring_corpus()
    assert again.texts == corpus.texts
    with pytest.raises(ValueError, match="needs two or more"):
        docstring_corpus(["numpy"])
    with pytest.raises(ModuleNotFoundError):
        docstring_corpus(["numpy", "no_such_package"])


def test_two_real_classifiers(corpus):
    """Both know more than the majority; alignment lies between chance and two runs of one."""
    order = np.random.default_rng(0).permutation(len(corpus.texts))
    texts, labels = [corpus.texts[i] for i in order], corpus.labels[order]
    rows = slice(0, 12)
    models = {
        "large": make_pipeline(TfidfVectorizer(), LogisticRegression(C=10, max_iter=500)),
        "small": make_pipeline(CountVectorizer(max_features=150), MultinomialNB()),
    }
    maps = {}
    for name, model in models.items():
        model.fit(texts[300:], labels[300:])
        assert model.score(texts[:300], labels[:300]) > 0.65
        maps[name] = explain_texts(model.predict_proba, texts[rows], labels[rows]).values
    large = models["large"].predict_proba
    maps["again"] = explain_texts(large, texts[rows], labels[rows], seed=1).values
    table = alignment(maps, k=3, resamples=20).set_index(["first", "second", "measure"])["value"]
    ceiling = table["large", "again", "adjusted"]
    assert 0 < table["large", "small", "adjusted"] < ceiling < 1
    assert table["large", "again", "spearman"] > 0.8


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"explainer": "gradient_shap"}, "needs gradients"),
        ({"texts": []}, "0 texts and 3 targets"),
        ({"texts": ["a b", "...", "c"]}, "text 1 has no word"),
        ({"targets": [0, 0]}, "3 texts and 2 targets"),
        ({"targets": [0, 0, 2]}, "class 2 among them"),
        ({"predict": lambda texts: np.zeros(len(texts))}, "expected \\(texts, classes\\)"),
    ],
)
def test_wrong_questions_are_refused(given, text):
    options = {"predict": of_words(SLOPES), "texts": TEXTS, "targets": [0, 1, 0]} | given
    with pytest.raises(ValueError, match=text):
        explain_texts(options.pop("predict"), options.pop("texts"), options.pop("targets"),
                      **options)  # fmt: skip
