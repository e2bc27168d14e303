"""`duokit import-official`: from the authors' files to the weights of a duo."""

import json
import shlex

import pytest

from duokit.logits import load
from tests.logits.released import rewrite, write

MODELS = ("ConvNeXt_Base", "RegNet_X_1_6GF", "ConvNeXt_Base_greedy", "MyNet")
EFFICIENT = "tf_efficientnetv2_l.in21k_ft_in1k"


@pytest.fixture
def released(tmp_path):
    for split, n in (("val", 300), ("test", 400), ("ood_test", 200)):
        write(tmp_path, "imagenet", split, MODELS, n=n)
    write(tmp_path, "caltech256", "val", [EFFICIENT], n=50)
    return tmp_path


def test_every_file_becomes_a_record(released, duokit):
    out = released / "out"
    code, shown, err = duokit("import-official", released, "--out", out)
    assert (code, err) == (0, "")
    assert "13 of 13 files are records" in shown
    assert f"{out}/imagenet/MyNet/shifted.safetensors: 200 images, accuracy 0." in shown
    found = {path.relative_to(out).as_posix() for path in out.rglob("*.*") if path.is_file()}
    parts = ("val", "test", "shifted")
    wanted = {f"imagenet/{model}/{part}.safetensors" for model in MODELS for part in parts}
    assert found == wanted | {f"caltech256/{EFFICIENT}/val.safetensors"}


def test_records_know_what_the_papers_table_knows(released, duokit):
    out = released / "out"
    duokit("import-official", released, "--out", out)
    known = load(out / "imagenet/ConvNeXt_Base/val.safetensors")
    assert (known.flops, known.resolution) == (15_360_000_000, 224)
    assert known.weights == "IMAGENET1K_V1, torchvision"
    assert known.config["charged_gflops"] == 15.36
    assert load(out / "imagenet/ConvNeXt_Base_greedy/val.safetensors").flops == known.flops
    own = load(out / "imagenet/MyNet/val.safetensors")
    assert (own.flops, own.resolution, own.weights) == (None, None, "")
    run = load(out / f"caltech256/{EFFICIENT}/val.safetensors")
    assert (run.flops, run.resolution) == (35_900_000_000, 384)
    assert run.config["charged_gflops"] == 56.08
    assert str(released) not in json.dumps(run.config)


def test_fit_and_evaluate_take_them(released, duokit):
    out = released / "out" / "imagenet"
    duokit("import-official", released, "--out", out.parent)
    large, small = (out / name for name in MODELS[:2])
    weights = released / "weights.json"
    code, *_ = duokit(
        "fit", large / "val.safetensors", small / "val.safetensors", "--out", weights
    )  # fmt: skip
    assert code == 0
    fitted = json.loads(weights.read_text())
    assert [member["model"] for member in fitted["members"]] == list(MODELS[:2])
    for part in ("test", "shifted"):
        code, shown, err = duokit(
            "evaluate", "--val", large / "val.safetensors", small / "val.safetensors",
            "--test", large / f"{part}.safetensors", small / f"{part}.safetensors",
        )  # fmt: skip
        assert code == 0, err
        assert "weighted" in shown


def test_probabilities_are_taken_with_logits(released, duokit):
    from tests.logits.test_official import probabilities_of

    name = "ResNet50_kron_last_layer_LA"
    inner = released / "y-prediction/imagenet"
    for split in ("val", "test"):
        text = (inner / split / "raw/MyNet.csv").read_text()
        path = inner / split / f"raw/{name}.csv"
        path.write_text(text)
        rewrite(path, probabilities_of)
    out = released / "out"
    code, shown, _ = duokit("import-official", inner, "--models", f"{name},MyNet", "--out", out)
    assert code == 0
    assert "order of the rows not checked" in shown
    assert f"y-prediction/imagenet/val/raw/{name}.csv" in shown
    record = load(out / "imagenet" / name / "val.safetensors")
    assert (record.kind, record.resolution) == ("log_probs", 224)
    pair = [out / "imagenet" / model / "val.safetensors" for model in ("MyNet", name)]
    assert duokit("fit", *pair)[0] == 0


def test_records_are_kept(released, duokit, monkeypatch):
    out = released / "out"
    first = duokit("import-official", released, "--out", out, "--data", "imagenet")
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert len(stamps) == 12
    monkeypatch.setattr("duokit.logits.read_official", None)  # nothing is read again
    assert duokit("import-official", released, "--out", out, "--data", "imagenet") == first
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == stamps


def test_a_record_of_another_file_is_refused(released, duokit):
    out = released / "out"
    words = ["import-official", released, "--out", out, "--models", "MyNet"]
    duokit(*words)
    write(released, "imagenet", "val", ["A", *MODELS[:3], "MyNet"], n=310)
    code, shown, err = duokit(*words)
    assert code == 2
    assert "not imported: " in shown
    assert "val.safetensors was made of another file than" in shown
    assert "1 of 3 files were not imported (y-prediction/imagenet/val/raw/MyNet.csv)" in err
    assert "another dtype (float16)" in duokit(*words, "--dtype", "float32")[1]


def test_a_file_that_is_refused_stops_no_other(released, duokit):
    out = released / "out"
    inner = released / "y-prediction/imagenet"
    rewrite(inner / "val/raw/MyNet.csv", lambda table: table.iloc[::-1])
    (inner / "test/point_prediction.csv").unlink()
    code, shown, err = duokit("import-official", inner, "--out", out)
    assert code == 2
    assert shown.count("not imported: ") == 5
    assert "rows do not name the class" in shown
    assert "7 of 12 files are records" in shown
    assert "5 of 12 files were not imported (y-prediction/imagenet/" in err
    assert err.count("\n") == 1
    assert len(list(out.rglob("*.safetensors"))) == 7


def test_its_command_makes_the_records_again(released, duokit):
    options = ["--models", "MyNet", "--data", "imagenet", "--dtype", "float32"]
    duokit("import-official", released, "--out", released / "out", *options)
    first = load(released / "out/imagenet/MyNet/test.safetensors")
    places = {"DIR": released, "OUT": released / "again"}
    said = shlex.split(first.config["command"])
    assert duokit(*[places.get(word, word) for word in said[1:]])[0] == 0
    paths = [released / out / "imagenet/MyNet/test.safetensors" for out in ("out", "again")]
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--models", "Lost"], "no file of the model 'Lost'; there are EfficientThing"),
        (["--data", "caltech101"], "no file of the data set 'caltech101'; there are imagenet"),
    ],
)
def test_names_that_are_not_there(tmp_path, duokit, words, text):
    write(tmp_path, models=["EfficientThing"])
    code, _, err = duokit("import-official", tmp_path, "--out", tmp_path / "out", *words)
    assert code == 2
    assert text in err
    assert (
        "holds no logits of the released code"
        in duokit("import-official", tmp_path / "y-prediction/imagenet/val", "--out", tmp_path)[2]
    )
