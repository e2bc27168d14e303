"""The benchmark of compressed networks runs, and its table is whole."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "compression.py"
SMALL = {"model": "test_efficientnet@32", "small": "test_efficientnet@16", "pixels": 24}
QUICK = {"classes": 3, "sparsity": 0.5, "batch": 2, "rounds": 1, "warmup": 0}
COLUMNS = [
    "network", "images_per_second", "over_torch", "over_onnx", "flops_ratio", "bytes", "threads",
    "batch", "rounds", "device",
]  # fmt: skip

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package)


@pytest.mark.long
def test_the_table_that_is_written_is_whole(tmp_path):
    out = tmp_path / "speed.csv"
    options = SMALL | QUICK | {"out": out}
    line = [sys.executable, str(SCRIPT)]
    line += [word for name, value in options.items() for word in (f"--{name}", str(value))]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"\r" not in out.read_bytes()
    table = pd.read_csv(out)
    assert list(table) == COLUMNS
    assert list(table["network"].str.removeprefix("test_efficientnet@")) == [
        "32 torch", "32 pruned0.5", "24 torch", "16 torch", "32 onnx", "32 int8_dynamic",
        "32 int8_static", "24 onnx", "16 onnx",
    ]  # fmt: skip
    assert all(name in done.stdout for name in table["network"])
    table.index = table["network"].str.split("@").str[1]
    assert (table["images_per_second"] > 0).all()
    assert table["over_torch"]["32 torch"] == table["over_onnx"]["32 onnx"] == 1
    assert table["over_onnx"].notna().tolist() == 4 * [False] + 5 * [True]
    assert ((table["flops_ratio"] == 1) == table.index.str.startswith("32")).all()
    assert 1 > table["flops_ratio"]["24 torch"] > table["flops_ratio"]["16 torch"] > 0
    assert table["bytes"]["32 torch"] == table["bytes"]["24 torch"] > table["bytes"]["32 pruned0.5"]
    assert table["bytes"]["32 onnx"] > table["bytes"]["32 int8_static"]
