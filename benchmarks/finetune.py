"""Training images a second: duokit's loop, a plain one, and the network alone on data at hand.

The plain loop is what the paper's released code does: a DataLoader with PIL transforms
(RandAugment, flip, the eval transform), float32, no memory format. The network alone sees one
batch again and again, already on the device: no loop can be faster with the same number format.

Pictures are crops of scikit-learn's two photographs, written as JPEG; weights are random. Only the
times count. The loops run in turns; the median of each counts. Memory is the peak that each loop
took on a GPU; on a CPU, what can be counted of duokit's step (`measure_step`).

    python benchmarks/finetune.py --model tf_efficientnet_lite0 --resolution 96
"""

import argparse
import os
import platform
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from duokit.images import ImageSet, load
from duokit.models import FineTune, Preprocessing, build, decode, fine_tune, preprocessing
from duokit.models.inference import pick_device
from duokit.models.tuning.devices import adamw, computes_in_half
from duokit.models.tuning.footprint import measure_step


def write_pictures(folder: Path, images: int, seed: int) -> ImageSet:
    random = np.random.default_rng(seed)
    photographs = load_sample_images().images
    for number in range(images):
        photograph = photographs[number % 2]
        top, left = (int(random.integers(0, size - 220)) for size in photograph.shape[:2])
        place = folder / f"class{number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        crop = Image.fromarray(photograph[top : top + 220, left : left + 300])
        crop.save(place / f"{number:05d}.jpg", quality=90)
    return load("folder", folder)


class Pictures(Dataset):
    def __init__(self, images: ImageSet, how: Preprocessing) -> None:
        self.images = images
        steps = [transforms.RandAugment(), transforms.RandomHorizontalFlip(), how.transform()]
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images.open(row)), int(self.images.labels[row])


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def plain(images: ImageSet, how: Preprocessing, settings: FineTune, device, workers: int) -> float:
    model = build(settings.model, classes=2, pretrained=None).to(device).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.lr)
    loader = DataLoader(
        Pictures(images, how), settings.batch, shuffle=True, num_workers=workers,
        pin_memory=device.type == "cuda",
    )  # fmt: skip
    synchronise(device)
    begun = time.perf_counter()
    for pictures, labels in loader:
        loss = cross_entropy(model(pictures.to(device)), labels.to(device))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        loss.item()
    synchronise(device)
    return len(images) / (time.perf_counter() - begun)


def ours(images: ImageSet, how: Preprocessing, settings: FineTune, device) -> tuple[float, float]:
    """Return images a second without and with the time to decode, which is spent once a run."""
    begun = time.perf_counter()
    pixels = decode(images, how, progress=False)
    decoding = time.perf_counter() - begun
    model = build(settings.model, classes=2, pretrained=None)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        fine_tune(
            model, pixels, settings, train=torch.arange(len(images)), val=torch.arange(2),
            folder=Path(folder), device=device.type, progress=False,
        )  # fmt: skip
        spent = time.perf_counter() - begun
    return len(images) / spent, len(images) / (spent + decoding)


def alone(images: int, how: Preprocessing, settings: FineTune, device) -> float:
    model = build(settings.model, classes=2, pretrained=None).train()
    model = model.to(device=device, memory_format=torch.channels_last)
    optimiser = adamw(model, settings, device)
    size = (settings.batch, 3, how.resolution, how.resolution)
    pictures = torch.randn(size, device=device).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(settings.batch, dtype=torch.int64, device=device)
    half = computes_in_half(settings, device)
    steps = max(1, images // settings.batch)
    synchronise(device)
    begun = time.perf_counter()
    for _ in range(steps):
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = cross_entropy(model(pictures), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    synchronise(device)
    return steps * settings.batch / (time.perf_counter() - begun)


def machine(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return (
        f"{name}; {platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; "
        f"torch {torch.__version__}"
    )


def peak(device: torch.device, work) -> tuple[object, float]:
    """Return what the work returned, and the most bytes it had on a GPU, beyond those before."""
    if device.type != "cuda":
        return work(), float("nan")
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return work(), torch.cuda.max_memory_allocated(device) - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tf_efficientnet_lite0")
    parser.add_argument("--resolution", type=int, default=96)
    parser.add_argument("--images", type=int, default=1024, help="of one epoch")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=0, help="of the plain loop's DataLoader")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    device = pick_device(args.device)
    settings = FineTune(
        args.model, resolution=args.resolution, epochs=1, batch=args.batch, save_minutes=1e9
    )
    how = preprocessing(args.model, args.resolution)
    rates: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        images = write_pictures(Path(folder), args.images, 0)
        alone(args.batch * 2, how, settings, device)  # start the device
        ways = {
            "plain loop": lambda: plain(images, how, settings, device, args.workers),
            "network alone": lambda: alone(args.images, how, settings, device),
            "duokit": lambda: ours(images, how, settings, device),
        }
        for _ in range(args.repeat):
            for name, way in ways.items():
                found, memory[name] = peak(device, way)
                bare, whole = found if isinstance(found, tuple) else (found, None)
                rates.setdefault(name, []).append(bare)
                if whole is not None:
                    rates.setdefault(f"{name}, one epoch and decoding", []).append(whole)
    base = np.median(rates["plain loop"])
    print(machine(device))
    print(f"{args.model} at {how.resolution} px, batch {args.batch}, {args.workers} workers")
    for name, found in rates.items():
        took = f"   peak {memory[name] / 2**20:.0f} MiB" if memory.get(name, np.nan) > 0 else ""
        rate = np.median(found)
        print(f"{name:32s} {rate:8.1f} images/s   ratio {rate / base:5.2f}{took}")
    share = np.median(rates["duokit"]) / np.median(rates["network alone"])
    print(f"duokit / network alone: {share:.2f}")
    step = measure_step(settings, classes=2, device=args.device)
    print(f"a step of {step.images} images: {step.memory / 2**20:.0f} MiB, {step.memory_is}")


if __name__ == "__main__":
    main()
