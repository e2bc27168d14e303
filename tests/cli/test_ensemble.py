"""`duokit ensemble`: files of the same names, pooled; what is there is kept; the rest refused."""

import argparse
from pathlib import Path

import numpy as np
import pytest

from duokit.cli import ensemble
from duokit.logits import load, make_record, save
from duokit.models.ensemble import ensemble_records


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    found = []
    for seed in range(3):
        random = np.random.default_rng(seed)
        for part, n in (("val", 4), ("test", 5)):
            record = make_record(
                random.normal(size=(n, 3)).astype(np.float32), np.arange(n) % 3,
                model="net", dataset="toys", split=part, split_checksum="s", seed=seed, flops=7,
            )  # fmt: skip
            save(record, tmp_path / f"net-{seed}" / f"{part}.safetensors")
        found.append(tmp_path / f"net-{seed}")
    return found


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    ensemble.register(parser.add_subparsers())
    arguments = parser.parse_args(["ensemble", *(str(word) for word in words)])
    return arguments.run(arguments)


def test_files_of_the_same_names_are_pooled(folders, tmp_path, capsys):
    out = tmp_path / "out" / "net-ensemble"
    assert run(*folders, "--out", out, "--pool", "probs") == 0
    assert sorted(path.name for path in out.iterdir()) == ["test.safetensors", "val.safetensors"]
    for part in ("val", "test"):
        found = load(out / f"{part}.safetensors")
        members = [load(folder / f"{part}.safetensors") for folder in folders]
        assert np.array_equal(found.logits, ensemble_records(members, pool="probs").logits)
        assert found.kind == "log_probs"
        assert found.flops == 21
        command = "duokit ensemble net-0 net-1 net-2 --pool probs --out OUT/net-ensemble"
        assert found.config["command"] == command
    assert "val.safetensors: 4 images, accuracy" in capsys.readouterr().out


def test_records_are_kept_and_others_refused(folders, tmp_path):
    words = ["--out", tmp_path / "out"]
    assert run(*folders[:2], *words, "--parts", "val") == 0
    path = tmp_path / "out" / "val.safetensors"
    before = path.stat().st_mtime_ns
    assert run(*folders[:2], *words, "--dtype", "float32") == 0
    assert path.stat().st_mtime_ns == before
    assert load(tmp_path / "out" / "test.safetensors").logits.dtype == np.float32
    with pytest.raises(ValueError, match="made with other members: choose another --out"):
        run(*folders, *words)
    with pytest.raises(ValueError, match="made with other pool"):
        run(*folders[:2], *words, "--pool", "probs")


def test_a_member_that_lacks_a_part_is_named(folders, tmp_path):
    words = ["--out", tmp_path / "out"]
    (folders[1] / "test.safetensors").unlink()
    with pytest.raises(ValueError, match=r"net-1 lacks test\.safetensors.*--parts"):
        run(*folders, *words)
    assert not (tmp_path / "out").exists()
    assert run(*folders, *words, "--parts", "val") == 0
    with pytest.raises(NotADirectoryError, match="nowhere is not a folder"):
        run(folders[0], tmp_path / "nowhere", *words)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty lacks any record"):
        run(tmp_path / "empty", *words)
    with pytest.raises(ValueError, match="an ensemble has two members or more"):
        run(folders[0], *words)
