"""`duokit fit`: the numbers of fit_weights, from files of every kind."""

import json

import numpy as np
import pytest

from duokit import fit_weights, load, sidekick_test
from duokit.logits import write_csv, write_npz


def test_fit_says_what_fit_weights_found(records, duokit, tmp_path):
    large, small = load(records["large", "val"]), load(records["small", "val"])
    out = tmp_path / "fit.json"
    code, text, err = duokit("fit", records["large", "val"], records["small", "val"], "--out", out)
    assert (code, err) == (0, "")
    found = json.loads(out.read_text())
    expected = fit_weights([large.logits, small.logits], large.labels)
    assert [m["weight"] for m in found["members"]] == expected.weights.tolist()
    assert [m["standard_error"] for m in found["members"]] == expected.standard_errors.tolist()
    assert found["nll"] == expected.nll
    assert found["gap"] == expected.gap
    alone = fit_weights([small.logits], small.labels)
    assert found["members"][1]["weight_alone"] == alone.weights[0]
    test = sidekick_test(large.logits, small.logits, large.labels)
    assert found["sidekick_test"]["p_value"] == test.p_value
    assert found["flops_balance"] == 0.25
    assert (found["images"], found["classes"]) == (300, 5)
    assert f"{expected.weights[1]:.4f}" in text
    assert "net-small@96" in text
    assert "score test of the sidekick: t = " in text
    assert ": it helps" in text
    assert "FLOPs of the large model: 0.250" in text

    code, _, err = duokit("fit", records["large", "val"], records["small", "val"], "--out", out)
    assert code == 2
    assert "fit.json exists" in err
    words = ("fit", records["large", "val"], records["small", "val"], "--out", out, "--overwrite")
    assert duokit(*words)[0] == 0


def test_files_of_every_kind_give_the_same_fit(records, duokit, tmp_path):
    large, small = load(records["large", "val"]), load(records["small", "val"])
    np.save(tmp_path / "l.npy", large.logits.astype(np.float64))
    np.save(tmp_path / "s.npy", small.logits)
    np.save(tmp_path / "labels.npy", large.labels)
    pairs = {
        "npz": [write_npz(r, tmp_path / f"{r.model}.npz") for r in (large, small)],
        "csv": [write_csv(r, tmp_path / f"{r.model}.csv") for r in (large, small)],
        "npy": [tmp_path / "l.npy", tmp_path / "s.npy", "--labels", tmp_path / "labels.npy"],
    }
    expected = fit_weights([large.logits, small.logits], large.labels).weights.tolist()
    for kind, words in pairs.items():
        code, _, err = duokit("fit", *words, "--out", tmp_path / kind / "fit.json")
        assert (code, err) == (0, ""), kind
        found = json.loads((tmp_path / kind / "fit.json").read_text())
        assert [m["weight"] for m in found["members"]] == expected, kind


@pytest.mark.filterwarnings("always:the images do not determine:UserWarning")
def test_three_members_and_no_sidekick_test(records, duokit, tmp_path):
    files = [records["large", "val"], records["small", "val"], records["large", "val"]]
    code, text, err = duokit("fit", *files, "--out", tmp_path / "fit.json")
    assert code == 0
    assert err.startswith("duokit fit: warning: the images do not determine every weight")
    assert err.count("\n") == 1
    found = json.loads((tmp_path / "fit.json").read_text())
    assert len(found["members"]) == 3
    assert found["sidekick_test"] is None
    assert "score test" not in text
    # the first is there twice: its weight is not determined, and nan is not JSON
    assert found["status"] == "unidentified"
    assert found["members"][0]["standard_error"] is None


def test_what_is_not_known_is_left_out(duokit, tmp_path):
    rng = np.random.default_rng(0)
    for name in "ls":
        np.savez(
            tmp_path / f"{name}.npz", logits=rng.normal(size=(50, 3)), labels=np.arange(50) % 3
        )
    code, text, _ = duokit("fit", tmp_path / "l.npz", tmp_path / "s.npz")
    assert code == 0
    assert "FLOPs" not in text
    assert "no sign that it helps" in text


def test_fit_refusals(records, duokit, tmp_path):
    val = records["large", "val"]

    def error(*words):
        code, out, err = duokit("fit", *words)
        assert (code, out) == (2, "")
        return err

    assert "hold other images: at position 0" in error(val, records["small", "test"])
    assert "does not end in .json" in error(val, val, "--out", "fit.txt")
    assert "No such file" in error(val, tmp_path / "none.safetensors")
    (tmp_path / "x.txt").touch()
    assert "is not a record (.safetensors), .npz, .csv or .npy" in error(val, tmp_path / "x.txt")
    np.save(tmp_path / "x.npy", np.full((4, 2), 0.5))
    assert "x.npy holds no labels" in error(val, tmp_path / "x.npy")
    np.save(tmp_path / "y.npy", np.zeros(4, int))
    assert "probabilities" in error(tmp_path / "x.npy", val, "--labels", tmp_path / "y.npy")
    (tmp_path / "y.npy").write_bytes(b"hello")
    assert "y.npy cannot be read as .npy" in error(
        tmp_path / "x.npy", val, "--labels", tmp_path / "y.npy"
    )
    np.save(tmp_path / "y.npy", np.array([{}] * 4), allow_pickle=True)
    assert "y.npy cannot be read as .npy" in error(
        tmp_path / "x.npy", val, "--labels", tmp_path / "y.npy"
    )
    with pytest.raises(SystemExit):
        error(val)
