"""A run killed at random moments, again and again: does each end with the same bits?

A small network learns scikit-learn's digits from random weights, on a CPU, in a process of its own.
One run is left alone. Each of the others is killed (SIGKILL) at a random moment and started again
until it ends: same weights of the best epoch, same last weights, same history?

    python benchmarks/kills.py --kills 10 --out benchmarks/kills.csv
"""

import argparse
import csv
import hashlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from duokit.images import load
from duokit.models import FineTune, build, decode, fine_tune, preprocessing
from duokit.models.tuning.checkpoint import BEST, HISTORY, LAST

CHILD = "--in-this-process"
SETTINGS = FineTune(
    "test_efficientnet", resolution=32, pretrained="none", epochs=10, batch=32, lr=1e-3,
    mixup=0.2, save_minutes=0.01,
)  # fmt: skip


def train(folder: Path) -> None:
    """Begin the run in the folder, or go on with it."""
    torch.set_num_threads(1)
    images = load("digits")
    how = preprocessing(SETTINGS.model, SETTINGS.resolution, pretrained=None)
    pixels = decode(images, how, ids=images.ids[:800], progress=False)
    model = build(SETTINGS.model, classes=images.classes, pretrained=None)
    (folder / "ready").touch()
    fine_tune(
        model, pixels, SETTINGS, train=torch.arange(640), val=torch.arange(640, 800),
        folder=folder, device="cpu", progress=False,
    )  # fmt: skip


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Return the process, once it is ready to train."""
    (folder / "ready").unlink(missing_ok=True)
    child = subprocess.Popen([sys.executable, __file__, CHILD, str(folder)])
    while not (folder / "ready").exists() and child.poll() is None:
        time.sleep(0.01)
    return child


def kept_steps(folder: Path) -> int:
    path = folder / LAST
    return torch.load(path, weights_only=True)["progress"]["step"] if path.is_file() else 0


def digest(folder: Path) -> str:
    """Return a checksum of all that a run leaves but its times."""
    state = torch.load(folder / LAST, weights_only=True)
    found = hashlib.sha256((folder / BEST).read_bytes())
    for name, values in state["model"].items():
        found.update(name.encode() + values.numpy().tobytes())
    rows = [json.loads(line) for line in (folder / HISTORY).read_text().splitlines()]
    found.update(json.dumps([{**row, "seconds": 0} for row in rows]).encode())
    return found.hexdigest()[:16]


def kill(folder: Path, step: int, delay: float) -> bool:
    """Return whether the run was killed: so many seconds after that step was on the disk."""
    child = start(folder)
    while kept_steps(folder) < step and child.poll() is None:
        time.sleep(0.05)
    time.sleep(delay)
    child.kill()
    return child.wait() == -signal.SIGKILL


def finish(folder: Path) -> None:
    if start(folder).wait() != 0:
        raise RuntimeError(f"the run in {folder} failed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, metavar="CSV", help="where to keep a row for each run")
    parser.add_argument(CHILD, type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.in_this_process is not None:
        train(args.in_this_process)
        return
    moments = random.Random(args.seed)
    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}, CPU, 1 thread")
    print(f"{SETTINGS.model} at {SETTINGS.resolution} px on digits, seed {SETTINGS.seed}")
    with tempfile.TemporaryDirectory() as base:
        folders = [Path(base) / str(number) for number in range(args.kills + 1)]
        for folder in folders:
            folder.mkdir()
        finish(folders[0])
        steps, expected = kept_steps(folders[0]), digest(folders[0])
        print(f"{'left alone':>15}, {steps:4d} steps       {expected}", flush=True)
        same, killed, rows = 0, 0, []
        for number, folder in enumerate(folders[1:], start=1):
            # a little less than all: it shall not end before it is killed
            killed += kill(folder, moments.randrange(steps * 9 // 10), moments.uniform(0, 0.6))
            kept = kept_steps(folder)
            finish(folder)
            found = digest(folder)
            same += found == expected
            rows.append(
                {"run": number, "steps": steps, "kept": kept, "same": int(found == expected)}
            )
            verdict = "same" if found == expected else "ANOTHER RESULT"
            print(f"{number:9d} killed, {kept:4d} steps kept  {found} {verdict}", flush=True)
    if args.out is not None:
        with args.out.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, rows[0], lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
    print(f"{killed} runs killed, {same} of {args.kills} results are those of the run left alone")
    if min(same, killed) < args.kills:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
