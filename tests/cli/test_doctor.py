"""`duokit doctor`: finds what is there, and says of what is not how to get it."""

import importlib.metadata
import json
import sys
from collections import namedtuple

import pytest

from duokit.cli import doctor
from duokit.cli.doctor import Finding
from duokit.images import NAMES


@pytest.fixture
def home(tmp_path, monkeypatch):
    """No data but what a test puts there."""
    monkeypatch.setenv("DUOKIT_DATA", str(tmp_path))
    return tmp_path


def test_doctor_on_this_machine(home, duokit):
    code, text, err = duokit("doctor", "--json")
    assert err == ""
    found = [Finding(**one) for one in json.loads(text)]
    assert {one.area for one in found} == {
        "python", "packages", "accelerator", "data", "weights", "space",
    }  # fmt: skip
    by_name = {one.name: one for one in found}
    numpy = by_name["numpy (core)"]
    assert (numpy.ok, numpy.needed) == (True, True)
    assert numpy.found == importlib.metadata.version("numpy")
    assert not by_name["timm (models)"].needed
    assert by_name["digits"].found == "1797 images, 10 classes"
    assert code == int(any(one.needed and not one.ok for one in found)) == 0
    assert all(one.advice for one in found if not one.ok and one.area in ("packages", "data"))


def test_doctor_as_text(home, duokit, monkeypatch):
    monkeypatch.setattr(doctor, "data", lambda: iter(()))
    code, text, _ = duokit("doctor")
    assert code == 0
    assert text.startswith("python\n  ok      Python >= 3.11: 3.")
    assert text.endswith("all that duokit needs is here\n")


@pytest.mark.promise("errors")
def test_a_home_that_is_not_there_and_data_that_are_no_folder(tmp_path, duokit, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    (tmp_path / "file").write_text("text")
    monkeypatch.setenv("DUOKIT_DATA", str(tmp_path / "file"))
    code, text, err = duokit("doctor", "--json")
    assert (code, err) == (0, "")
    found = {one["name"]: one for one in json.loads(text)}
    home = found[str(tmp_path / "none")]
    assert (home["ok"], home["found"]) == (False, "No such file or directory")
    assert home["advice"].startswith("make the folder, or set HOME")
    assert "DUOKIT_DATA names another folder" in found["caltech256"]["advice"]


def test_a_missing_core_package(duokit, monkeypatch):
    real = importlib.metadata.version

    def without_scipy(name):
        if name == "scipy":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib.metadata, "version", without_scipy)
    monkeypatch.setattr(doctor, "data", lambda: iter(()))
    code, text, _ = duokit("doctor")
    assert code == 1
    assert "MISSING scipy (core): missing\n          pip install duokit (wants scipy" in text
    assert text.endswith("missing: scipy (core)\n")


def test_an_old_package_and_a_missing_extra(monkeypatch):
    lines = ["numpy>=99", 'nowhere-to-be-found>=2 ; extra == "models"']
    monkeypatch.setattr(doctor, "requirements", lambda: lines)
    old, extra = doctor.packages()
    assert (old.ok, old.needed) == (False, True)
    assert old.advice == "pip install duokit (wants numpy>=99)"
    assert (extra.ok, extra.needed, extra.found) == (False, False, "missing")
    assert extra.advice == 'pip install "duokit[models]" (wants nowhere-to-be-found>=2)'


def test_requirements_from_metadata_or_source(monkeypatch, tmp_path):
    def nothing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", nothing)
    source = doctor.requirements()
    assert any(line.startswith("torch>=") for line in source)
    assert any(line.startswith("timm>=") and line.endswith('extra == "models"') for line in source)
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: ["a>=1"])
    assert doctor.requirements() == ["a>=1"]
    monkeypatch.setattr(importlib.metadata, "requires", nothing)
    monkeypatch.setattr(doctor, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    assert doctor.requirements() == []
    (missing,) = doctor.packages()
    assert (missing.name, missing.ok, missing.needed) == ("duokit", False, True)


def test_python_that_is_too_old(monkeypatch):
    monkeypatch.setattr(doctor, "OLDEST_PYTHON", (99, 0))
    (found,) = doctor.python()
    assert not found.ok
    assert "99.0 or newer" in found.advice


def test_accelerators(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    (none,) = doctor.accelerator()
    assert (none.ok, none.needed) == (False, False)
    assert "computes on the CPU" in none.found
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert next(doctor.accelerator()).found == "Apple GPU"
    Properties = namedtuple("Properties", "name total_memory")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: Properties(f"GPU {index}", 8e9)
    )
    assert [one.found for one in doctor.accelerator()] == ["GPU 0, 8 GB", "GPU 1, 8 GB"]


def test_data_found_missing_and_packed(home):
    by_name = {one.name: one for one in doctor.data()}
    assert set(by_name) == {*NAMES} - {"folder"}
    assert not by_name["caltech101"].ok
    assert "101_ObjectCategories" in by_name["caltech101"].advice
    (home / "101_ObjectCategories.tar").touch()
    packed = {one.name: one for one in doctor.data()}["caltech101"]
    assert packed.ok
    assert "101_ObjectCategories.tar, unpacked when first used" in packed.found
    assert [path.name for path in home.iterdir()] == ["101_ObjectCategories.tar"]


def test_data_in_a_folder_says_where(home):
    from PIL import Image

    names = [f"class{number:03d}" for number in range(101)] + ["BACKGROUND_Google"]
    for name in names:
        (home / "101_ObjectCategories" / name).mkdir(parents=True)
        Image.new("RGB", (2, 2)).save(home / "101_ObjectCategories" / name / "image_0001.jpg")
    found = {one.name: one for one in doctor.data()}["caltech101"]
    assert found.found == f"102 images, 101 classes in {home / '101_ObjectCategories'}"


def test_without_the_models_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "duokit.images", None)
    (found,) = doctor.data()
    assert (found.ok, found.advice) == (False, 'pip install "duokit[models]"')


def test_weights_missing(monkeypatch):
    from duokit.models import pip_weights

    def missing(name):
        raise FileNotFoundError(f"pip install {name}")

    monkeypatch.setattr(pip_weights, "weights_file", missing)
    assert {one.found for one in doctor.weights()} == {"missing"}
    assert all("pip install" in one.advice for one in doctor.weights())


def test_little_space(monkeypatch):
    Usage = namedtuple("Usage", "free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: Usage(1e9))
    found = list(doctor.space())
    assert not any(one.ok or one.needed for one in found)
    assert found[0].found == "1.0 GB free"
