"""Which files the rule `predict` depends on."""

from heteroforge.configuration import TABLES, published_tables, structures_to_predict


def test_tables_may_be_missing_by_their_default_name_alone(tmp_path, monkeypatch):
    def found(folder):
        return published_tables({"prediction": {"tables": folder}})

    monkeypatch.chdir(tmp_path)
    assert found(None) == (None, []) and found(TABLES) == (None, [])
    assert found("elsewhere") == ("elsewhere", []), "the job says that there are none"
    for name in ("c2db/properties.csv", "hetml/monolayers.csv", "notes/readme.txt"):
        (tmp_path / TABLES / name).parent.mkdir(parents=True)
        (tmp_path / TABLES / name).write_text("")
    folder, files = found(TABLES)
    assert folder == TABLES
    assert files == [f"{TABLES}/c2db/properties.csv", f"{TABLES}/hetml/monolayers.csv"]


def test_files_are_named_not_their_folder(tmp_path):
    def named(path):
        return structures_to_predict({"prediction": {"structures": path}})

    assert named(None) == [] and named(str(tmp_path)) == [] and named("/nowhere") == []
    (tmp_path / "inner").mkdir()
    for name in ("a.cif", "inner/POSCAR", "notes.txt"):
        (tmp_path / name).write_text("")
    found = [str(tmp_path / "a.cif"), str(tmp_path / "inner/POSCAR")]
    assert named(str(tmp_path)) == found and named(found[0]) == found[:1]
