"""Which files the rule `predict` depends on."""

from heteroforge.configuration import structures_to_predict


def test_files_are_named_not_their_folder(tmp_path):
    def named(path):
        return structures_to_predict({"prediction": {"structures": path}})

    assert named(None) == [] and named(str(tmp_path)) == [] and named("/nowhere") == []
    (tmp_path / "inner").mkdir()
    for name in ("a.cif", "inner/POSCAR", "notes.txt"):
        (tmp_path / name).write_text("")
    found = [str(tmp_path / "a.cif"), str(tmp_path / "inner/POSCAR")]
    assert named(str(tmp_path)) == found and named(found[0]) == found[:1]
