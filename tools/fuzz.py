"""Coverage-guided fuzzing of everything that reads what others wrote.

Whatever the bytes, a reader returns, or raises TypeError, ValueError or OSError with the file's
name in it: nothing else, in no more than ten seconds and two gigabytes. libFuzzer, through
atheris, mutates valid files and keeps the inputs that reach new code.

    make fuzz                                            60 seconds each
    python tools/fuzz.py csv npz --seconds 600 --out benchmarks/fuzz.csv

An input that breaks the rule is kept in _build/fuzz/READER/ and makes the exit code 1.
"""

import argparse
import csv
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build" / "fuzz"
COLUMNS = ("reader", "seconds", "inputs", "edges", "faults")
LIMITS = ("-timeout=10", "-rss_limit_mb=2048", "-max_len=4096", "-print_final_stats=1")

Read = Callable[[bytes, Path], Path]


def as_record(data: bytes, folder: Path) -> Path:
    """Write the bytes as a record, or as parts of one whose checksum is right, and load it."""
    from duokit.logits import store

    path = folder / "given.safetensors"
    whole, _, text = data.partition(b"\n\n")
    if not text:
        path.write_bytes(data)
    else:
        import numpy as np

        try:
            metadata = json.loads(text)
        except (ValueError, RecursionError):
            metadata = {}
        numbers = np.frombuffer(whole[: len(whole) // 8 * 8], np.float32).reshape(-1, 2)
        tensors = {
            "logits": numbers,
            "labels": np.zeros(len(numbers), np.int64),
            "ids": np.frombuffer(whole, np.uint8),
        }
        if not isinstance(metadata, dict) or not len(numbers):
            return path
        try:
            path.write_bytes(store._pack(tensors, metadata))
        except (ValueError, KeyError, UnicodeError):
            return path  # this text can't stand in a file
    for mapped in (False, True):
        _tried(lambda mapped=mapped: store.load(path, mapped=mapped), path)
    _tried(lambda: store.listing(folder), path)
    return path


def as_npz(data: bytes, folder: Path) -> Path:
    """Write the bytes as an archive, or as the arrays of one, and read it."""
    from duokit.logits import read_npz

    path = folder / "given.npz"
    parts = data.split(b"\n--\n")
    if len(parts) == 1:
        path.write_bytes(data)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name, part in zip(("logits", "labels", "ids", "record"), parts, strict=False):
                archive.writestr(f"{name}.npy", part)
    _tried(lambda: read_npz(path, dtype="float32"), path)
    return path


def as_csv(data: bytes, folder: Path) -> Path:
    """Write the bytes as a table of logits, and read it."""
    from duokit.logits import read_csv

    path = folder / "given.csv"
    path.write_bytes(data)
    _tried(lambda: read_csv(path), path)
    return path


def as_toml(data: bytes, folder: Path) -> Path:
    """Write the bytes as settings, as a sweep and as a zoo, and read them."""
    from duokit.models.tuning.settings import read_settings
    from duokit.models.tuning.space import read_search
    from duokit.models.tuning.zoo import read_zoo

    path = folder / "given.toml"
    path.write_bytes(data)
    for read in (read_settings, read_search, read_zoo):
        _tried(lambda read=read: read(path), path)
    return path


def as_yaml(data: bytes, folder: Path) -> Path:
    """Write the bytes as parameters of a notebook, read and convert them."""
    from duokit.cli.run import read_values
    from duokit.notebooks.parameters import parameters, validate

    path = folder / "given.yaml"
    path.write_bytes(data)
    known = parameters(ROOT / "book" / "notebooks" / "duo_in_five_minutes.ipynb")
    values: dict[str, Any] = {}
    _tried(lambda: values.update(read_values([path], [])), path)
    _tried(lambda: validate(known, values), None)
    return path


def as_folder(data: bytes, folder: Path) -> Path:
    """Make the files, folders and links that the lines name, and list them as pictures."""
    from duokit.images.folder import default_splits, load_folder
    from duokit.images.loose import load_loose

    base = folder / "given"
    base.mkdir()
    for line in data.split(b"\n")[:40]:
        kind, name = line[:1], line[1:].decode("utf-8", "surrogateescape")
        path = base / name.lstrip("/")
        if "\0" in name or ".." in path.parts:
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind == b"/":
                path.mkdir(parents=True)
            elif kind == b">":
                path.symlink_to(base / "a")
            elif kind == b"|":
                __import__("os").mkfifo(path)
            else:
                path.write_bytes(_picture(kind))
        except OSError:
            continue
    images: list[Any] = []
    _tried(lambda: images.append(load_folder(base)), base)
    for found in images:
        _tried(lambda: [found.read(place) for place in range(len(found))], base)  # noqa: B023
        _tried(lambda: default_splits(found), None)  # noqa: B023
    _tried(lambda: load_loose(base, ["a", "b"]), base)
    return base


READERS: dict[str, Read] = {
    "record": as_record, "npz": as_npz, "csv": as_csv, "toml": as_toml, "yaml": as_yaml,
    "folder": as_folder,
}  # fmt: skip


def _picture(kind: bytes) -> bytes:
    """Return a small picture, or for some kinds of line one that is none."""
    if kind in b"x?":
        return kind * 20
    from PIL import Image

    kept = io.BytesIO()
    Image.new("RGB", (2, 2), (ord(kind), 0, 0)).save(kept, "png")
    return kept.getvalue()


def _tried(read: Callable[[], Any], path: Path | None) -> None:
    """Call a reader; an error of another type, or without the file's name, goes on up."""
    try:
        read()
    except (TypeError, ValueError, OSError) as error:
        told = f"{error} {getattr(error, 'filename', '')}"
        if type(error) in (UnicodeDecodeError, UnicodeEncodeError):
            raise
        if path is not None and path.name not in told:
            raise AssertionError(f"names no file: {error!r}") from error


def seeds(reader: str) -> list[bytes]:
    """Return valid inputs to begin with."""
    import numpy as np

    from duokit.logits import make_record, write_csv, write_npz
    from duokit.logits.store import _metadata, save

    record = make_record(
        np.float32([[2, 1], [-1, 0.5], [3, 3]]), np.array([0, 1, 0]), ["a", "b", "c"],
        model="net", dataset="set", split="val", resolution=32, flops=10, class_names=("x", "y"),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if reader == "record":
            numbers = record.logits.tobytes() + b"\0" * 8
            built = numbers + b"\n\n" + json.dumps(_metadata(record)).encode()
            return [save(record, folder / "r").read_bytes(), built]
        if reader == "npz":
            raw = write_npz(record, folder / "r.npz").read_bytes()
            with zipfile.ZipFile(io.BytesIO(raw)) as archive:
                parts = [archive.read(f"{name}.npy") for name in ("logits", "labels", "ids")]
            return [raw, b"\n--\n".join(parts)]
        if reader == "csv":
            return [write_csv(record, folder / "r.csv").read_bytes()]
    if reader == "toml":
        return [
            b'model = "tf_efficientnet_lite0"\nepochs = 3\nlr = 1e-3\nsoup = true\n',
            b'trials = 4\nmethod = "random"\n[settings]\nmodel = "x"\n[space]\nlr = [1e-4, 1e-2]\n',
            (ROOT / "book" / "zoo.toml").read_bytes()[:3000],
        ]
    if reader == "yaml":
        return [b"resamples: 200\nlevel: 0.9\nlarge: some-model\nsmall: null\n", b"- a\n- {b: c}\n"]
    return [
        b"\n".join(b"%s%s/%d.png" % (kind, name, n) for n, kind in enumerate((b"a", b"b", b"c"))
                   for name in (b"a", b"b")) + b"\n/a/.hidden\n>c\n|a/pipe.png\nxa/bad.jpg",
    ]  # fmt: skip


def fuzz(reader: str, seconds: int) -> dict[str, Any]:
    """Return what a run in a process of its own found, as a row of the table."""
    folder = BUILD / reader
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(reader)):
        (corpus / f"seed-{number}").write_bytes(seed)
    command = [sys.executable, __file__, reader, "--in-this-process", str(corpus), *LIMITS]
    command += [f"-max_total_time={seconds}", f"-artifact_prefix={folder}/fault-"]
    log = folder / "log.txt"
    with log.open("wb") as out:
        code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT).returncode
    text = log.read_text(errors="replace")
    inputs = re.findall(r"stat::number_of_executed_units:\s+(\d+)", text) or re.findall(
        r"^#(\d+)", text, re.MULTILINE
    )
    edges = re.findall(r"cov: (\d+)", text)
    row = dict.fromkeys(COLUMNS, 0) | {
        "reader": reader,
        "seconds": seconds,
        "faults": int(code != 0),
    }
    row["inputs"], row["edges"] = int((inputs or [0])[-1]), int((edges or [0])[-1])
    if code:
        print("\n".join(text.splitlines()[-40:]))
    return row


def in_this_process(reader: str, words: Sequence[str]) -> None:
    """Hand over to libFuzzer, which ends the process itself."""
    import atheris

    with atheris.instrument_imports(include=["duokit"]):
        import duokit.cli.run
        import duokit.images.folder
        import duokit.images.loose
        import duokit.logits.exchange
        import duokit.logits.store
        import duokit.models.tuning.zoo  # noqa: F401

    import warnings

    warnings.simplefilter("ignore")
    scratch = Path(tempfile.mkdtemp())

    def one(data: bytes) -> None:
        folder = scratch / "one"
        folder.mkdir()
        try:
            READERS[reader](data, folder)
        finally:
            shutil.rmtree(folder)

    atheris.Setup([sys.argv[0], *words], one)
    atheris.Fuzz()


def main() -> int:
    """Return 1 if a reader broke the rule."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("readers", nargs="*", help=f"of {', '.join(READERS)} (default: all)")
    parser.add_argument("--seconds", type=int, default=60, help="for each (default: 60)")
    parser.add_argument("--out", type=Path, metavar="CSV", help="where to keep the counts")
    parser.add_argument("--in-this-process", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if given.in_this_process is not None:
        in_this_process(given.readers[0], given.in_this_process)
        return 0
    rows = []
    for reader in given.readers or READERS:
        rows.append(fuzz(reader, given.seconds))
        print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
        if given.out:
            with given.out.open("w", newline="", encoding="utf-8") as file:
                table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
                table.writeheader()
                table.writerows(rows)
    return int(any(row["faults"] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
