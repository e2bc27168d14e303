"""`duokit list`."""


def test_list(records, duokit, tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    code, text, err = duokit("list", tmp_path)
    assert (code, err) == (0, "")
    lines = text.splitlines()
    assert "model" in lines[0]
    assert "problem" not in lines[0]
    assert any("large/val.safetensors" in line and "net-large" in line for line in lines)
    assert any("broken.safetensors: no record: " in line for line in lines)
    assert lines[-1].startswith("4 records, ")


def test_list_of_broken_files_alone(duokit, tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    code, text, _ = duokit("list", tmp_path)
    assert code == 0
    assert text.endswith("0 records, 0.00 MB\n")


def test_list_of_the_current_folder(duokit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert duokit("list") == (0, "no records (.safetensors) under .\n", "")
