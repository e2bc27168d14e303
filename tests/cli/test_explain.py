"""`duokit explain`: a run is all it needs; the same images and regions for every model."""

import argparse
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from duokit.cli import explain
from duokit.images import default_splits, load
from duokit.models.duo.runs import duo_from_runs
from duokit.models.tuning.run import load_run
from duokit.models.tuning.settings import FineTune
from duokit.models.tuning.tuned import tuned_records
from duokit.trust.alignment import alignment
from duokit.trust.attribution import explain as explain_pictures
from duokit.trust.maps import duo_maps, load_maps
from duokit.trust.regions import View, base_pictures

pytest.importorskip("captum")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """Returns a folder of pictures whose bright half tells the class, beside two runs on it."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for label, name in enumerate(("left", "right")):
        (folder / "shapes" / name).mkdir(parents=True)
        for number in range(14):
            grey = random.integers(0, 60, size=(40, 48), dtype=np.uint8)
            grey[:, 24 * label : 24 * label + 24] += 150
            Image.fromarray(grey).save(folder / "shapes" / name / f"{number:02d}.png")
    images = load("folder", folder / "shapes")
    for seed, size in ((0, 40), (1, 32)):
        settings = FineTune(
            "test_efficientnet", resolution=size, pretrained="none", probe=False, epochs=1,
            seed=seed,
        )  # fmt: skip
        tuned_records(
            images, default_splits(images), settings, folder / f"run-{size}", device="cpu",
            progress=False,
        )  # fmt: skip
    return folder


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    explain.register(parser.add_subparsers())
    arguments = parser.parse_args(["explain", *(str(word) for word in words)])
    return arguments.run(arguments)


@pytest.fixture
def words(base):
    return ["--data", "folder", "--root", base / "shapes", "--images", 4, "--grid", 3, "--side", 48,
            "--device", "cpu", "--quiet"]  # fmt: skip


def test_a_file_holds_what_the_library_finds(base, words, tmp_path, capsys):
    out = tmp_path / "maps.safetensors"
    assert run(base / "run-40", *words, "--out", out) == 0
    found = load_maps(out)
    trained, images = load_run(base / "run-40"), load("folder", base / "shapes")
    ids = trained.splits.at_most(4, seed=0).parts["test"]
    assert found.ids == ids
    pictures = base_pictures(map(images.open, images.rows(ids)), side=48)
    labels = images.labels[images.rows(ids)]
    view = View(trained.model, trained.preprocessing)
    assert np.array_equal(found.values, explain_pictures(view, pictures, labels, regions=3))
    assert found.targets.tolist() == labels.tolist()
    assert (found.model, found.dataset) == ("test_efficientnet@40", "shapes")
    assert found.explainer == {"explainer": "occlusion"}
    assert found.regions == {"grid": 3, "side": 48, "crop": 1.0}
    assert found.question == {"output": "centred", "baseline": "blur", "target": "label"}
    assert found.checkpoints == (trained.config["checkpoint_sha256"],)
    answers = view(pictures / 255).argmax(dim=1).tolist()
    assert found.config["answers"] == answers
    printed = capsys.readouterr().out
    assert "4 images x 9 regions, test_efficientnet@40, occlusion, accuracy" in printed


def test_the_command_in_the_file_makes_it_again(base, words, tmp_path):
    options = ["--explainer", "lime", "--samples", 20, "--target", "predicted", "--seed", 3,
               "--output", "probs", "--baseline", "0.5", "--images-seed", 1,
               "--part", "val"]  # fmt: skip
    run(base / "run-32", *words, *options, "--out", tmp_path / "one")
    one = load_maps(tmp_path / "one.safetensors")
    places = {"RUN": base / "run-32", "DATA": base / "shapes", "OUT": tmp_path / "two"}
    again = [places.get(word, word) for word in shlex.split(one.config["command"])[2:]]
    run(*again, "--device", "cpu", "--quiet")
    two = load_maps(tmp_path / "two.safetensors")
    assert np.array_equal(one.values, two.values)
    assert (one.explainer, one.seed, one.ids) == (two.explainer, two.seed, two.ids)
    assert one.question == two.question == {"output": "probs", "baseline": 0.5,
                                            "target": "predicted"}  # fmt: skip
    assert one.config["answers"] == one.targets.tolist()
    assert set(one.ids) <= set(load_run(base / "run-32").splits.parts["val"])


def test_a_duo_of_runs_a_duo_in_a_file_and_the_sum_of_its_members(base, words, tmp_path):
    lime = [*words, "--explainer", "lime", "--samples", 30]
    for size in (40, 32):
        run(base / f"run-{size}", *lime, "--out", tmp_path / f"{size}")
    runs = [base / "run-40", base / "run-32"]
    run(*runs, "--weights", "0.75,0.5", *lime, "--out", tmp_path / "duo")
    duo_from_runs(*runs, (0.75, 0.5)).save(tmp_path / "saved.safetensors")
    run("--duo", tmp_path / "saved.safetensors", *lime, "--out", tmp_path / "file")
    large, small, duo, file = (
        load_maps(tmp_path / f"{name}.safetensors") for name in ("40", "32", "duo", "file")
    )
    assert duo.values == pytest.approx(duo_maps(large, small, (0.75, 0.5)).values, abs=1e-4)
    assert np.array_equal(duo.values, file.values)
    assert duo.model == file.model == "test_efficientnet@40 + test_efficientnet@32"
    assert duo.weights == file.weights == (0.75, 0.5)
    assert duo.checkpoints == large.checkpoints + small.checkpoints
    table = alignment({"large": large, "small": small, "duo": duo}, k=3, resamples=9)
    assert table["value"].notna().all()


def test_images_that_a_file_names(base, words, tmp_path):
    test = load_run(base / "run-40").splits.parts["test"]
    file = tmp_path / "ids.txt"
    file.write_text(f"{test[3]}\n\n{test[0]}\n{test[3]}\n", encoding="utf-8")
    for size in (40, 32):
        run(base / f"run-{size}", *words, "--ids", file, "--out", tmp_path / f"{size}")
    large, small = (load_maps(tmp_path / f"{size}.safetensors") for size in (40, 32))
    assert large.ids == (test[3], test[0])
    assert "--ids IDS" in large.config["command"]
    assert "--images" not in large.config["command"]
    assert not large.drawn
    assert not duo_maps(large, small, (0.5, 0.5)).drawn
    run(base / "run-40", *words, "--out", tmp_path / "drawn")
    drawn = load_maps(tmp_path / "drawn.safetensors")
    assert drawn.drawn
    assert duo_maps(drawn, drawn, (0.5, 0.5)).drawn


@pytest.mark.parametrize(("text", "told"), [("elsewhere.png", "elsewhere"), ("\n", "is empty")])
def test_names_of_no_image_are_refused(base, words, tmp_path, text, told):
    file = tmp_path / "ids.txt"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=f"{told}.*expected ids of images such as"):
        run(base / "run-40", *words, "--ids", file, "--out", tmp_path / "maps")
    assert not (tmp_path / "maps.safetensors").exists()


def test_nothing_is_replaced(base, words, tmp_path):
    run(base / "run-40", *words, "--out", tmp_path / "maps")
    before = (tmp_path / "maps.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match="choose another --out"):
        run(base / "run-32", *words, "--out", tmp_path / "maps")
    assert (tmp_path / "maps.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("runs", "options", "text"),
    [
        ([], [], "which model"),
        (["run-40", "run-32"], [], "which model"),
        (["run-40"], ["--weights", "1,1"], "which model"),
        (["run-40"], ["--duo", "file.safetensors"], "which model"),
        (["run-40", "run-32"], ["--weights", "1,x"], "expected two numbers"),
        (["run-40"], ["--part", "shifted"], "there is no part 'shifted'"),
        (["run-40"], ["--crop", "0.5"], "give a crop of 1 or more"),
        (["run-40"], ["--samples", "9"], "leave samples out"),
        (["run-40"], ["--baseline", "noise"], "expected 'blur', 'mean' or a grey"),
    ],
)
def test_wrong_words_are_refused(base, words, tmp_path, runs, options, text):
    with pytest.raises(ValueError, match=text):
        run(*(base / name for name in runs), *words, *options, "--out", tmp_path / "maps")
    assert not list(tmp_path.iterdir())


def test_other_data_is_refused(base, words, tmp_path):
    with pytest.raises(ValueError, match="Give --data NAME"):
        run(base / "run-40", "--out", tmp_path / "maps", "--quiet")
    other = tmp_path / "other"
    for name in ("up", "down"):
        (other / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(other / name / "a.png")
    with pytest.raises(ValueError, match="not those the model was trained on"):
        run(base / "run-40", "--data", "folder", "--root", other, "--out", tmp_path / "maps")
