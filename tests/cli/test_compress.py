"""`duokit compress`: records of a smaller network that say what was done and how large it is."""

import argparse
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from duokit.cli import compress
from duokit.images import default_splits, load
from duokit.logits import load as load_record
from duokit.models.tuning.run import load_run
from duokit.models.tuning.settings import FineTune
from duokit.models.tuning.tuned import tuned_records

NAME = "test_efficientnet-32"


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """Returns a folder of dark and bright pictures beside a run on them."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for label, name in enumerate(("dark", "bright")):
        (folder / "shapes" / name).mkdir(parents=True)
        for number in range(14):
            grey = random.integers(90 * label, 90 * label + 120, size=(36, 36), dtype=np.uint8)
            Image.fromarray(grey).save(folder / "shapes" / name / f"{number:02d}.png")
    images = load("folder", folder / "shapes")
    settings = FineTune(
        "test_efficientnet", resolution=32, pretrained="none", probe=False, epochs=1, batch=8,
        batchnorm="frozen",
    )  # fmt: skip
    where = {"device": "cpu", "progress": False}
    made = tuned_records(images, default_splits(images), settings, folder / "run", **where)
    np.save(folder / "plain.npy", made["test"].logits)
    return folder


def run(base: Path, out: Path, *words: object) -> int:
    parser = argparse.ArgumentParser()
    compress.register(parser.add_subparsers())
    fixed = [base / "run", "--data", "folder", "--root", base / "shapes", "--out", out]
    fixed += ["--runs", out / "runs", "--cache", out / "cache", "--device", "cpu", "--quiet"]
    arguments = parser.parse_args(["compress", *map(str, fixed), *map(str, words)])
    return arguments.run(arguments)


def test_pruning_nothing_changes_nothing_and_half_does(base, tmp_path, capsys):
    plain = np.load(base / "plain.npy")
    assert run(base, tmp_path, "--how", "pruned", "--sparsity", 0) == 0
    assert run(base, tmp_path, "--how", "pruned", "--sparsity", 0.5) == 0
    same, half = (
        load_record(tmp_path / f"{NAME}-pruned{share}-0" / "test.safetensors")
        for share in ("0", "0.5")
    )
    assert (same.logits == plain).all()
    assert (half.logits != plain).any()
    assert half.config["size"]["zeros"] == pytest.approx(0.5, abs=0.01)
    assert half.config["size"]["bytes"] < half.config["size"]["bytes_before"]
    assert half.config["compressed_from"] == load_run(base / "run").config["checkpoint_sha256"]
    assert half.flops == same.flops > half.config["size"]["nonzero_flops"]
    assert "zeros as one bit" in capsys.readouterr().out


def test_it_keeps_records_and_says_how_to_make_them(base, tmp_path):
    words = ("--how", "resolution", "--pixels", 24, "--parts", "test")
    run(base, tmp_path, *words)
    path = tmp_path / "test_efficientnet-24-resolution-0" / "test.safetensors"
    record, before = load_record(path), path.stat().st_mtime_ns
    assert not path.with_name("val.safetensors").exists()
    assert record.resolution == 24
    assert shlex.split(record.config["command"])[-8:] == [
        "--how", "resolution", "--pixels", "24", "--parts", "test", "--out", "OUT",
    ]  # fmt: skip
    assert run(base, tmp_path, *words) == 0
    assert path.stat().st_mtime_ns == before


def test_zeros_stay_zeros_while_it_is_tuned(base, tmp_path):
    run(base, tmp_path, "--how", "pruned", "--sparsity", 0.6, "--epochs", 2, "--parts", "test")
    record = load_record(tmp_path / f"{NAME}-pruned0.6_tuned-0" / "test.safetensors")
    assert record.config["size"]["zeros"] >= 0.6 - 0.01
    assert record.config["method"].endswith("then 2 epochs of fine-tuning")


def test_an_option_of_another_way_is_refused(base, tmp_path):
    with pytest.raises(ValueError, match="--pixels is no option of pruned"):
        run(base, tmp_path, "--how", "pruned", "--sparsity", 0.5, "--pixels", 24)
    with pytest.raises(ValueError, match="sparsity is None"):
        run(base, tmp_path, "--how", "pruned")
