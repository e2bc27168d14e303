"""The logits store: what a model said about each image, kept once and read by everything after it.

record = make_record(logits, labels, ids, model="...", dataset="...", split="test")
save(record, "large/test.safetensors")
same_images(load("large/test.safetensors"), load("small/test.safetensors"))
"""

from duokit.logits.exchange import read_csv, read_npz, write_csv, write_npz
from duokit.logits.official import OfficialFile, find_official, read_official
from duokit.logits.record import Record, make_record, same_images, versions
from duokit.logits.store import (
    StoreError,
    listing,
    load,
    load_folds,
    load_parts,
    read_metadata,
    save,
)

__all__ = [
    "Record",
    "make_record",
    "versions",
    "same_images",
    "save",
    "load",
    "load_parts",
    "load_folds",
    "read_metadata",
    "listing",
    "StoreError",
    "read_npz",
    "write_npz",
    "read_csv",
    "write_csv",
    "find_official",
    "read_official",
    "OfficialFile",
]
