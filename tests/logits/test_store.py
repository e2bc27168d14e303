"""Files are whole, verified, and never replaced by accident."""

import errno
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors import safe_open
from safetensors.numpy import save as pack_tensors

from duokit.logits import StoreError, listing, load, load_parts, read_metadata, save
from duokit.logits.files import write_whole
from duokit.logits.store import _metadata, _pack, _tensors
from tests.logits.samples import assert_equal, full, record, scores


def test_round_trip(tmp_path):
    path = save(full(), tmp_path / "new" / "val")
    assert path == tmp_path / "new" / "val.safetensors"
    assert_equal(load(path), full())


def test_a_mapped_record_is_the_same_and_its_logits_stay_in_the_file(tmp_path):
    path = save(full(), tmp_path / "val")
    found = load(path, mapped=True)
    assert_equal(found, full())
    for values in (found.logits, found.labels):
        assert not values.flags.owndata
        assert not values.flags.writeable


def test_a_mapped_file_is_verified_as_well(tmp_path):
    path = save(full(), tmp_path / "val.safetensors")
    raw = bytearray(path.read_bytes())
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "cut").write_bytes(raw[: len(raw) // 3])
    for name in ("empty", "cut"):
        with pytest.raises(StoreError, match="is not a safetensors file, or is cut short"):
            load(tmp_path / name, mapped=True)
    (tmp_path / "short").write_bytes(raw[:-4])
    raw[-1] ^= 1
    path.write_bytes(raw)
    for name in ("val.safetensors", "short"):
        with pytest.raises(StoreError, match="is damaged: its checksum is"):
            load(tmp_path / name, mapped=True)
    path.unlink()
    with pytest.raises(StoreError, match="'ids'"):
        load(forged(path, without=["ids"]), mapped=True)


text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\0"), min_size=1)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


@st.composite
def records(draw):
    n, k = draw(st.integers(1, 5)), draw(st.integers(2, 4))
    dtype = draw(st.sampled_from([np.float16, np.float32]))
    width = 16 if dtype is np.float16 else 32
    values = st.floats(-100, -0.25, width=width)  # negative: never taken for probabilities
    return record(
        logits=draw(arrays(dtype, (n, k), elements=values)),
        labels=draw(arrays(np.int64, n, elements=st.integers(-1, k - 1))),
        ids=tuple(draw(st.lists(text, min_size=n, max_size=n, unique=True))),
        config=draw(st.dictionaries(text, json_value, max_size=3)),
        model=draw(text),
        seed=draw(st.none() | st.integers(0, 2**63)),
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(made=records())
def test_round_trip_of_any_record(made, tmp_path):
    assert_equal(load(save(made, tmp_path / "any.safetensors", overwrite=True)), made)


def test_same_record_same_bytes(tmp_path):
    one, two = save(full(), tmp_path / "one"), save(full(), tmp_path / "two")
    assert one.read_bytes() == two.read_bytes()


def test_any_safetensors_reader_can_open_it(tmp_path):
    with safe_open(save(full(), tmp_path / "x"), framework="np") as file:
        assert np.array_equal(file.get_tensor("logits"), full().logits)
        assert np.array_equal(file.get_tensor("labels"), full().labels)
        assert json.loads(file.metadata()["duokit"])["model"] == "net"


def test_every_changed_byte_is_found(tmp_path):
    """Length, header, padding and tensors alike: no byte may change unseen."""
    path = save(full(), tmp_path / "x")
    raw = path.read_bytes()
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1 + place % 255
        path.write_bytes(changed)
        with pytest.raises(StoreError, match=r"x\.safetensors"):
            load(path)


def test_every_cut_is_found(tmp_path):
    path = save(full(), tmp_path / "x")
    raw = path.read_bytes()
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        with pytest.raises(StoreError):
            load(path)
    path.write_bytes(raw + b"\0")
    with pytest.raises(StoreError, match="damaged"):
        load(path)


def test_damage_is_named(tmp_path):
    path = save(full(), tmp_path / "x")
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(StoreError, match=r"x\.safetensors is damaged: its checksum is .* make it"):
        load(path)


def test_missing_file(tmp_path):
    for read in (load, read_metadata):
        with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
            read(tmp_path / "none.safetensors")


def forged(path, *, tensors=(), without=(), **metadata):
    """Writes a file whose checksum is right but whose content is not a record."""
    parts = _tensors(full()) | dict(tensors)
    described = _metadata(full()) | metadata
    for name in without:
        parts.pop(name, None)
        described.pop(name, None)
    path.write_bytes(_pack(parts, described))
    return path


@pytest.mark.parametrize("name", ["logits", "labels", "ids", "model", "config", "kind", "format"])
def test_missing_keys(tmp_path, name):
    with pytest.raises(StoreError, match=f"'{name}'"):
        load(forged(tmp_path / "x.safetensors", without=[name]))


def test_other_format_version(tmp_path):
    path = forged(tmp_path / "x.safetensors", format=2)
    for read in (load, read_metadata):
        with pytest.raises(StoreError, match="format version 2, this duokit reads 1"):
            read(path)


def test_content_is_validated_behind_a_right_checksum(tmp_path):
    path = tmp_path / "x.safetensors"
    wrong = scores()
    wrong[0, 0] = np.nan
    with pytest.raises(StoreError, match=r"no valid record.*nan in row 0"):
        load(forged(path, tensors={"logits": wrong}))
    with pytest.raises(StoreError, match="no valid record"):
        load(forged(path, tensors={"ids": np.zeros(9, np.uint8)}))
    with pytest.raises(StoreError, match="seed is 'x'"):
        load(forged(path, seed="x"))


def test_files_of_other_programs(tmp_path):
    path = tmp_path / "x.safetensors"
    for raw in (
        pack_tensors({"w": np.ones(3)}),
        pack_tensors({"w": np.ones(3)}, metadata={"format": "pt"}),
    ):
        path.write_bytes(raw)
        with pytest.raises(StoreError, match="no duokit record"):
            load(path)
    path.write_bytes(pack_tensors({"w": np.ones(3)}, metadata={"duokit": "{}"}))
    with pytest.raises(StoreError, match="metadata cannot be read"):
        load(path)
    path.write_bytes(b"not a safetensors file at all")
    with pytest.raises(StoreError, match="not a safetensors file"):
        load(path)
    path.write_bytes((2).to_bytes(8, "little") + b"[]")
    with pytest.raises(StoreError, match="not a JSON object"):
        load(path)


def test_metadata_without_the_arrays(tmp_path):
    path = save(full(), tmp_path / "x")
    found = read_metadata(path)
    assert (found["n"], found["k"], found["dtype"]) == (6, 4, "float32")
    assert found["flops"] == 123_456_789_012
    assert "logits" not in found
    raw = path.read_bytes()
    path.write_bytes(raw[:-100])  # only the header is needed
    assert read_metadata(path) == found
    with pytest.raises(StoreError, match="shape"):
        read_metadata(forged(path, tensors={"logits": np.zeros(3, np.float32)}))


def test_existing_files_stay(tmp_path, monkeypatch):
    path = save(full(), tmp_path / "x")
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *args: pytest.fail("written before it was refused"))
        with pytest.raises(FileExistsError, match="overwrite=True"):
            save(full(model="other"), path)
    assert path.read_bytes() == before
    save(full(model="other"), path, overwrite=True)
    assert load(path).model == "other"


def test_other_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match="does not end in"):
        save(full(), tmp_path / "x.npz")
    assert not list(tmp_path.iterdir())


class Full:
    """A file that takes half of what it is given, then finds the disk full."""

    def __init__(self, path, mode):
        self.file = io.FileIO(path, mode)

        self.fileno = self.file.fileno

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.file.close()

    def write(self, data):
        self.file.write(data[: len(data) // 2])
        no_space()


def no_space(*args):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("owner", "name", "failing"),
    [(Path, "open", Full), (os, "fsync", no_space), (Path, "replace", no_space)],
)
def test_failure_leaves_what_was_there(tmp_path, monkeypatch, owner, name, failing):
    """A disk that fills up at any step leaves the old file and no temporary one."""
    path = save(full(), tmp_path / "x")
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, lambda *args: failing(*args))
        with pytest.raises(OSError, match="No space"):
            save(full(model="other"), path, overwrite=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_appears_meanwhile_stays(tmp_path, monkeypatch):
    path = tmp_path / "x"
    monkeypatch.setattr(os, "fsync", lambda handle: path.write_bytes(b"theirs"))
    with pytest.raises(FileExistsError):
        write_whole(path, b"ours")
    assert path.read_bytes() == b"theirs"
    assert list(tmp_path.iterdir()) == [path]


def test_listing(tmp_path):
    save(full(), tmp_path / "b" / "val")
    save(record(resolution=None), tmp_path / "a")
    (tmp_path / "weights.safetensors").write_bytes(pack_tensors({"w": np.ones(3)}))
    (tmp_path / "notes.txt").write_text("not listed")
    table = listing(tmp_path)
    assert table["path"].tolist() == ["a.safetensors", "b/val.safetensors", "weights.safetensors"]
    first = table.iloc[1]
    assert (first["model"], first["resolution"], first["flops"]) == ("net", 96, 123_456_789_012)
    assert (first["n"], first["k"], first["problem"]) == (6, 4, "")
    assert first["MB"] == (tmp_path / "b" / "val.safetensors").stat().st_size / 1e6
    assert "no duokit record" in table.iloc[2]["problem"]
    assert table["resolution"].isna().tolist() == [True, False, True]


def test_listing_of_nothing(tmp_path):
    assert listing(tmp_path).empty
    assert "model" in listing(tmp_path).columns
    with pytest.raises(NotADirectoryError, match="nowhere"):
        listing(tmp_path / "nowhere")


def test_the_parts_of_a_folder(tmp_path):
    for part in ("val", "test"):
        save(record(split=part), tmp_path / "net" / f"{part}.safetensors")
    found = load_parts(tmp_path / "net")
    assert list(found) == ["test", "val"]
    assert [each.split for each in found.values()] == ["test", "val"]
    assert list(load_parts(tmp_path / "net", "val")) == ["val"]
    with pytest.raises(FileNotFoundError, match="no record of shifted; it has test, val"):
        load_parts(tmp_path / "net", "val", "shifted")
    with pytest.raises(FileNotFoundError, match="no record of anything; it has none"):
        load_parts(tmp_path)
