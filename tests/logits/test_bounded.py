"""What others packed: read when it is what it says, refused before it fills the memory.

The limits are lowered here, so that no file of these tests is large in any way.
"""

import io
import json
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from duokit.logits import StoreError, bounded, listing, load, read_npz, save, write_npz
from duokit.logits.bounded import packed_ids, parsed, read_array, read_npy, unpacked_ids
from tests.logits.samples import assert_equal, full
from tests.logits.test_store import forged

pytestmark = pytest.mark.promise("hostile")


@pytest.fixture
def low(monkeypatch):
    """Returns nothing; sizes that a test can afford count as too large."""
    monkeypatch.setattr(bounded, "UNCHECKED", 1 << 12)
    monkeypatch.setattr(bounded, "AT_ONCE", 1 << 12)


def npy(values, **options):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, values, **options)
    return buffer.getvalue()


def test_ids_are_read_back():
    ids = [f"väl/{row}" for row in range(50)]
    assert unpacked_ids(packed_ids(ids), 50) == ids
    assert unpacked_ids(packed_ids(["x" * 1024]), 1) == ["x" * 1024]


@pytest.mark.parametrize("text", [b"x" * 400_000, b"\n" * 400_000, b"a\n" * 200_000])
def test_ids_that_unpack_to_a_thousand_times_their_size_are_refused(text):
    packed = zlib.compress(text, 9)
    assert len(text) > 300 * len(packed)
    tracemalloc.start()
    with pytest.raises(ValueError, match="unpack to more than 1,024 bytes an image"):
        unpacked_ids(packed, 20)
    assert tracemalloc.get_traced_memory()[1] < 100_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("packed", "message"),
    [
        (b"no zlib", "damaged"),
        (packed_ids(["a", "b", "c"])[:-3], "cut short"),
        (packed_ids(["a", "b"]), "2 ids for 3 images"),
        (zlib.compress(b"\n" * 2000), "2,001 ids for 3 images"),
        (zlib.compress(b"\xff\n\n"), "utf-8"),
    ],
)
def test_ids_that_are_no_ids(packed, message):
    with pytest.raises(ValueError, match=message):
        unpacked_ids(packed, 3)


def test_ids_too_long_to_be_read_again_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="1,025 bytes on average; a record keeps up to 1,024"):
        packed_ids(["x" * 1025])


def test_a_record_with_packed_ids_is_refused(tmp_path):
    ids = np.frombuffer(zlib.compress(b"\n" * 5_000_000, 9), np.uint8)
    with pytest.raises(StoreError, match=r"forged.*unpack to more than"):
        load(forged(tmp_path / "forged.safetensors", tensors={"ids": ids}))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, b"[" * 5000 + b"]" * 5000])
def test_json_that_is_nested_too_deeply_is_an_error_like_any_other(text):
    with pytest.raises(ValueError, match=r"nested too deeply|Expecting"):
        parsed(text)


def test_arrays_are_read_as_numpy_does(tmp_path):
    for values in (
        np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.array(["a", "bcd"]), np.zeros((0, 3)), np.array(5), np.arange(3, dtype=">i2"),
        np.random.default_rng(0).normal(size=(3000, 7)).astype(np.float32),
    ):  # fmt: skip
        np.save(tmp_path / "x.npy", values)
        found = read_npy(tmp_path / "x.npy")
        assert found.dtype == values.dtype
        assert found.shape == values.shape
        assert np.array_equal(found, values)


HEAD = b"\x93NUMPY\x01\x00v\x00"


def with_header(text, body=b"0" * 100):
    return HEAD + text.encode().ljust(117) + b"\n" + body


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            with_header("{'descr':'<f4','fortran_order':False,'shape':(1000000000,1000000)}"),
            "follow",
        ),
        (with_header("{'descr':'<f4','fortran_order':False,'shape':(-1,-25)}"), "follow"),
        (with_header("{'descr':'<f4','fortran_order':False,'shape':(24,)}"), "100 bytes follow"),
        (with_header("{'descr':'<f4','fortran_order':False,'shape':(26,)}"), "100 bytes follow"),
        (with_header("{'descr':'|O','fortran_order':False,'shape':(2,)}"), "unpickled"),
        (with_header("(" * 100), "header"),
        (with_header("[" * 100), "header"),
        (b"\x93NUMPY\x03\x00", "version"),
        (b"\x93NUM", "magic|EOF"),
        (b"", "EOF|magic"),
    ],
)
def test_arrays_that_are_not_what_they_say(tmp_path, raw, message):
    (tmp_path / "huge.npy").write_bytes(raw)
    with pytest.raises(ValueError, match=rf"huge\.npy cannot be read as \.npy: .*({message})"):
        read_npy(tmp_path / "huge.npy")


def test_an_array_cut_short_while_it_is_read():
    raw = npy(np.zeros(100_000))
    with pytest.raises(ValueError, match="cut short"):
        read_array(io.BytesIO(raw[:-8]), len(raw))


def packed(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return path


def test_an_array_that_unpacks_to_a_thousand_times_its_size_is_refused(tmp_path, low):
    members = {"logits.npy": npy(np.zeros((40_000, 2), np.float32)), "labels.npy": npy(np.zeros(2))}
    path = packed(tmp_path / "bomb.npz", members)
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"bomb\.npz .*more than 200 times as many.*np\.savez"):
        read_npz(path)
    assert tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.stop()


def test_large_arrays_that_hardly_pack_and_small_ones_that_do_are_read(tmp_path, monkeypatch):
    """Only what is both large and packed to less than a 200th is suspicious."""
    monkeypatch.setattr(bounded, "UNCHECKED", 1 << 12)
    logits = np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)
    labels, ids = np.zeros(600, np.int8), np.array([f"{row:03d}" for row in range(600)])
    path = tmp_path / "given.npz"
    np.savez_compressed(path, logits=logits, labels=labels, ids=ids)
    assert (read_npz(path).logits == logits).all()


def test_the_last_letter_of_all_is_one(tmp_path):
    path = tmp_path / "given.npz"
    np.savez(path, logits=3 * np.eye(2, dtype=np.float32), labels=[0, 1], ids=["a", "\U0010ffff"])
    assert read_npz(path).ids == ("a", "\U0010ffff")


def test_an_archive_with_too_many_members_is_refused(tmp_path, low):
    path = packed(tmp_path / "many.npz", {f"{number}.npy": b"" for number in range(200)})
    with pytest.raises(ValueError, match=r"many\.npz .*too many members"):
        read_npz(path)


@pytest.mark.parametrize("order", ["<", ">"])
def test_texts_of_letters_that_do_not_exist_are_refused(tmp_path, order):
    letters = np.array([0x61, 0x110000], f"{order}u4")
    ids, logits = letters.view(f"{order}U1"), np.eye(2, dtype=np.float32)
    np.savez(tmp_path / "odd.npz", logits=logits, labels=[0, 1], ids=ids)
    with pytest.raises(ValueError, match=r"odd\.npz.*ids.*characters that do not exist"):
        read_npz(tmp_path / "odd.npz")


def test_structures_are_no_ids(tmp_path):
    ids = np.array([(0,), (1,)], [("number", "i4")])
    np.savez(tmp_path / "odd.npz", logits=np.eye(2, dtype=np.float32), labels=[0, 1], ids=ids)
    with pytest.raises(ValueError, match=r"odd\.npz.*neither numbers nor text"):
        read_npz(tmp_path / "odd.npz")


def test_an_archive_whose_list_lies_elsewhere_is_named(tmp_path):
    """Where members begin is counted from where the list says that it is."""
    path = write_npz(full(), tmp_path / "moved.npz")
    content = bytearray(path.read_bytes())
    said = content.rindex(b"PK\5\6") + 16
    content[said : said + 4] = (10**6).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"moved\.npz"):
        read_npz(path)


def test_our_own_archives_pass_the_lowest_limits(tmp_path, low):
    record = full()
    assert_equal(read_npz(write_npz(record, tmp_path / "own.npz")), record)


@pytest.mark.parametrize("text", ["nope", "[1]", "[" * 2000, '"x"', '{"model": 1}', '{"flops": 0}'])
def test_a_description_that_is_none_names_the_file(tmp_path, text):
    logits = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    np.savez(tmp_path / "rec.npz", logits=logits, labels=[0, 1, 0], record=np.array(text))
    with pytest.raises(ValueError, match=r"rec\.npz"):
        read_npz(tmp_path / "rec.npz")


# --- a folder of other people's files


def described(metadata, shape=(3, 2)):
    """Returns the bytes of a safetensors file whose head says this, and that holds nothing."""
    tensors = {"logits": {"dtype": "F32", "shape": list(shape), "data_offsets": [0, 24]}}
    head = json.dumps({"__metadata__": {"duokit": metadata}} | tensors).encode()
    return len(head).to_bytes(8, "little") + head + b"\0" * 24


OWN = {"checksum": "0", "format": 1, "model": "m", "dataset": "d", "split": "s", "weights": ""}


@pytest.mark.parametrize(
    "raw",
    [
        described("[" * 5000),
        described(json.dumps(OWN), shape=(10**30, 2)),
        described(json.dumps(OWN), shape=(-1, 2)),
        described(json.dumps(OWN), shape=(1e300, 2)),
        described('{"checksum": "0", "format": 1, "model": 1e999, "flops": "x"}'),
        described(json.dumps(OWN | {"flops": 10**40})),
        described(json.dumps(OWN | {"resolution": "large"})),
        described(json.dumps(OWN | {"resolution": [1]})),
        described(json.dumps(OWN | {"model": {"a": 1}})),
        b"\0" * 4,
        b"",
    ],
)
def test_one_bad_file_does_not_hide_the_others(tmp_path, raw):
    save(full(), tmp_path / "good")
    (tmp_path / "bad.safetensors").write_bytes(raw)
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "link.safetensors").symlink_to(tmp_path / "nowhere")
    table = listing(tmp_path).set_index("path")
    assert table.loc["good.safetensors", "problem"] == ""
    for name in ("bad", "folder", "link"):
        assert table.loc[f"{name}.safetensors", "problem"]
