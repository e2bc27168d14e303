"""Fetching the archives of data sets: resumed where they stopped, verified, unpacked whole.

Addresses, sizes and checksums are those that the sources named at each entry state. A file is used
only after its checksum agrees; one whose checksum differs is set aside under another name.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from duokit.images.places import extract

BLOCK = 1 << 20  # bytes read at a time
TIMEOUT = 60  # seconds without a byte
PARTIAL = ".part"
REJECTED = ".rejected"
Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class Archive:
    """A file that can be fetched.

    Attributes:
        file: its name.
        url: where it is.
        size: bytes, as its source states; 0 if unknown.
        checksum: "md5:..." or "sha256:..."; "" if none is published.
        folder: where it is unpacked, below the data folder; "" if that is left to first use.
    """

    file: str
    url: str
    size: int = 0
    checksum: str = ""
    folder: str = ""


_V2 = "https://huggingface.co/datasets/vaishaal/ImageNetV2/resolve/main/"

# By data set; the first of several is fetched if none is named.
ARCHIVES: dict[str, dict[str, Archive]] = {
    "caltech101": {  # address and MD5: torchvision's Caltech101; size: TensorFlow Datasets
        "": Archive(
            "caltech-101.zip",
            "https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",
            137_414_764,
            "md5:3138e1922a9193bfa496528edbbc45d0",
        )
    },
    "caltech256": {  # address: torchvision's Caltech256; MD5: the record at CaltechDATA
        "": Archive(
            "256_ObjectCategories.tar",
            "https://data.caltech.edu/records/nyy15-4j048/files/256_ObjectCategories.tar",
            1_183_006_720,
            "md5:67b4f42ca05d46448c6bb8ecd2220f6d",
            "caltech256",
        )
    },
    "imagenet_v2": {  # addresses, sizes and SHA-256: TensorFlow Datasets, imagenet_v2
        "matched-frequency": Archive(
            "imagenetv2-matched-frequency.tar.gz",
            _V2 + "imagenetv2-matched-frequency.tar.gz",
            1_264_079_360,
            "sha256:f0c37fdf925916b19ea1323cd9a2208cdb6959ba2c32eef2a7fc393835c9ca7c",
            "imagenetv2-matched-frequency",
        ),
        "threshold0.7": Archive(
            "imagenetv2-threshold0.7.tar.gz",
            _V2 + "imagenetv2-threshold0.7.tar.gz",
            1_249_906_176,
            "sha256:32142bfe998f9cfa4141be691f6a80eeb1e27b24bd532a668eb08c26d98897a2",
            "imagenetv2-threshold0.7",
        ),
        "top-images": Archive(
            "imagenetv2-top-images.tar.gz",
            _V2 + "imagenetv2-top-images.tar.gz",
            1_245_927_936,
            "sha256:85e4ace30f3f0d660152062254b8759dda66267b27f7ec0fd8d5768f1073a04b",
            "imagenetv2-top-images",
        ),
    },
    "iwildcam": {  # address and size: the wilds package, iwildcam 2.0; no checksum is published
        "": Archive(
            "iwildcam_v2.0.tar.gz",
            "https://worksheets.codalab.org/rest/bundles/0x6313da2b204647e79a14b468131fcd64/contents/blob/",
            11_957_420_032,
            "",
            "iwildcam_v2.0",
        )
    },
}


def archive_of(name: str, variant: str | None = None) -> Archive:
    """Returns the archive of a data set, or of one of its variants.

    Raises:
        ValueError: a set that cannot be fetched, or no such variant.
    """
    if name not in ARCHIVES:
        raise ValueError(f"{name} cannot be fetched; these can: {', '.join(ARCHIVES)}")
    found = ARCHIVES[name]
    if variant is None:
        return next(iter(found.values()))
    if variant not in found:
        names = ", ".join(key for key in found if key) or "none"
        raise ValueError(f"{name} has no variant {variant!r}; there are: {names}")
    return found[variant]


def fetch(
    name: str,
    folder: Path,
    *,
    variant: str | None = None,
    keep: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Returns where a data set now lies: the folder of its pictures, or an archive left packed.

    What is there already is neither fetched nor changed.

    Args:
        name: one of ARCHIVES.
        folder: the data folder.
        variant: which of several archives.
        keep: whether the archive stays after it was unpacked.
        progress: called with the bytes there and the bytes wanted (None if unknown).

    Raises:
        OSError: no connection, a connection that broke (run again to go on), or no space.
        ValueError: a checksum that differs, or an archive that cannot be unpacked.
    """
    archive = archive_of(name, variant)
    target = folder / archive.folder if archive.folder else folder / archive.file
    if target.exists():
        return target
    path = download(archive, folder, progress=progress)
    if not archive.folder:
        return path
    try:
        extract(path, target)
    except ValueError as error:
        raise ValueError(f"{error}; remove {path} to fetch it again") from error
    if not keep:
        path.unlink()
    return target


def download(archive: Archive, folder: Path, *, progress: Progress | None = None) -> Path:
    """Returns the path of an archive, fetched where it is not there yet, and verified.

    An interrupted fetch leaves NAME.duokit-DIGITS.part, which the next one goes on from, if the
    server can (HTTP Range); otherwise it starts anew. The digits stand for the address, so that the
    NAME.part of a browser, or what another address began to send, is left alone.

    Raises:
        FileExistsError: a folder or a link has the name of the archive or of its part.
        OSError: no connection, a connection that broke, or no space.
        ValueError: a checksum that differs; the file is then called NAME.rejected, or
            NAME.rejected-2 and so on where that is taken.
    """
    folder.mkdir(parents=True, exist_ok=True)
    target, part = folder / archive.file, part_of(archive, folder)
    if target.is_file():
        _verify(target, archive)
        return target
    _require_own(target, part)
    _require_space(archive, folder, part)
    _transfer(archive, part, progress)
    _verify(part, archive)
    part.replace(target)
    return target


def part_of(archive: Archive, folder: Path) -> Path:
    """Returns the file into which an archive is fetched until it is whole and verified.

    Args:
        archive: what is fetched.
        folder: the data folder.
    """
    digits = hashlib.sha256(archive.url.encode()).hexdigest()[:8]
    return folder / f"{archive.file}.duokit-{digits}{PARTIAL}"


def _require_own(target: Path, part: Path) -> None:
    """Raises FileExistsError where a name that is written is that of a folder or a link."""
    for path in (target, part):
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise FileExistsError(
                f"{path} is a folder or a link that no fetch made, and is left as it is: move it "
                "away, or give another folder"
            )


def _require_space(archive: Archive, folder: Path, part: Path) -> None:
    """Raises OSError where the archive and what is unpacked from it cannot fit."""
    there = part.stat().st_size if part.is_file() else 0
    needed = archive.size * (2 if archive.folder else 1) - there
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"{folder} has {free / 1e9:.1f} GB free; {archive.file} and what is in it need "
            f"{needed / 1e9:.1f} GB: give another folder"
        )


def _transfer(archive: Archive, part: Path, progress: Progress | None) -> None:
    """Brings the rest of a file into `part`."""
    there = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(archive.url, headers={"User-Agent": "duokit"})
    if there:
        request.add_header("Range", f"bytes={there}-")
    by_hand = f"or fetch it by hand into {part.with_name(archive.file)}"
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            start = _start(answer, there, archive)
            total = None if answer.length is None else start + answer.length
            done = _copy(answer, part, start, total, progress)
    except urllib.error.HTTPError as error:
        if error.code == 416 and there:  # nothing is left to send; the checksum will tell
            if _total(error.headers.get("Content-Range", "")) in (there, None):
                return
            part.unlink()  # longer than the file: it belongs to another one
        raise OSError(
            f"{archive.url} answers {error.code} {error.reason}: run again later, {by_hand}"
        ) from error
    except (OSError, http.client.HTTPException) as error:
        there = part.stat().st_size if part.is_file() else 0
        raise OSError(
            f"{archive.url} could not be fetched ({error}); {there:,} bytes are in {part}: run "
            f"again to go on from there, {by_hand}"
        ) from error
    if total is None and archive.checksum:  # the server does not say; a file that is too short
        total = max(done, archive.size)  # is to be continued, not to be set aside
    if total is not None and done != total:
        raise OSError(
            f"{archive.url} broke off after {done:,} of {total:,} bytes, which are in {part}: run "
            "again to go on from there"
        )


def _start(answer: http.client.HTTPResponse, there: int, archive: Archive) -> int:
    """Returns at which byte the answer begins: where we stopped, or 0 from a server without Range.

    Raises:
        OSError: it begins elsewhere.
    """
    if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
        return 0
    begins = answer.headers.get("Content-Range", "").removeprefix("bytes ").split("-")[0]
    if begins != str(there):
        raise OSError(f"{archive.url} sends from byte {begins!r}, asked for {there}")
    return there


def _total(content_range: str) -> int | None:
    """Returns the whole size that a Content-Range states, if it does."""
    digits = content_range.rpartition("/")[2]
    return int(digits) if digits.isdigit() else None


def _copy(
    answer: http.client.HTTPResponse,
    part: Path,
    start: int,
    total: int | None,
    progress: Progress | None,
) -> int:
    """Returns how many bytes the file holds after the answer's were appended at `start`."""
    done = start
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        while block := answer.read(BLOCK):
            file.write(block)
            done += len(block)
            if progress is not None:
                progress(done, total)
    return done


def _free(path: Path) -> Path:
    """Returns the path, or the first of path-2, path-3 and so on that is not taken."""
    found, number = path, 1
    while os.path.lexists(found):
        number += 1
        found = path.with_name(f"{path.name}-{number}")
    return found


def _verify(path: Path, archive: Archive) -> None:
    """Raises ValueError, and sets the file aside, where its checksum is not the published one."""
    if not archive.checksum:
        return
    kind, _, wanted = archive.checksum.partition(":")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, kind).hexdigest()
    if found == wanted:
        return
    aside = _free(path.with_name(archive.file + REJECTED))
    path.rename(aside)
    raise ValueError(
        f"{archive.file} has {kind} {found}, the published one is {wanted}: it is damaged or "
        f"another version; it was set aside as {aside} and is not used. Run again to fetch it "
        f"anew from {archive.url}"
    )
