import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from ase import Atoms

from heteroforge.io import (
    InputError,
    atomic_path,
    campaign_provenance,
    provenance,
    read_frames,
    read_json,
    read_table,
    write_frames,
    write_json,
    write_table,
)


def test_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as partial:
        partial.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_file_is_not_there_before_it_is_complete(tmp_path):
    path = tmp_path / "folder" / "figure.png"
    with atomic_path(path) as partial:
        partial.write_bytes(b"1")
        assert partial.suffix == ".png"
        assert partial.parent == path.parent
        assert not path.exists()
    assert path.read_bytes() == b"1"


def test_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(InputError, match="nothing was written"), atomic_path(tmp_path / "x.csv"):
        pass


def test_killed_process_leaves_no_file(tmp_path):
    path = tmp_path / "file.txt"
    code = (
        "import os\n"
        "from heteroforge.io import atomic_path\n"
        f"with atomic_path({str(path)!r}) as partial:\n"
        "    partial.write_text('half')\n"
        "    os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert not path.exists()


def test_json_takes_arrays_and_writes_unknown_as_null(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": np.arange(2), "b": np.float64(0.5), "c": float("nan"), 1: (True,)})
    assert read_json(path) == {"a": [0, 1], "b": 0.5, "c": None, "1": [True]}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_table_comes_back(tmp_path, suffix):
    frame = pd.DataFrame(
        {"formula": ["NaN", "InN"], "gap_ev": [0.1 + 0.2, np.nan], "note": [None, "null"]}
    )
    write_table(tmp_path / f"t{suffix}", frame)
    back = read_table(tmp_path / f"t{suffix}", columns=["gap_ev"])
    assert list(back["formula"]) == ["NaN", "InN"]
    assert back["gap_ev"][0] == 0.1 + 0.2
    assert back["gap_ev"].isna().tolist() == [False, True]
    assert back["note"].isna().tolist() == [True, False]


def test_identifiers_that_look_like_numbers_stay_text(tmp_path):
    frame = pd.DataFrame(
        {"stack_id": ["123456789012", "1234567e1234"], "material": ["0012", None], "slot": [0, 1]}
    )
    write_table(tmp_path / "t.csv", frame)
    back = read_table(tmp_path / "t.csv")
    assert back["stack_id"].tolist() == ["123456789012", "1234567e1234"]
    assert back["material"][0] == "0012"
    assert back["material"].isna().tolist() == [False, True]
    assert back["slot"].tolist() == [0, 1]


def test_bad_tables_are_named(tmp_path):
    with pytest.raises(InputError, match="absent.csv: no such file"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="tables are .csv or .parquet"):
        write_table(tmp_path / "t.xlsx", pd.DataFrame())
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="no column value; found a, b"):
        read_table(tmp_path / "t.csv", columns=["a", "value"])
    (tmp_path / "t.parquet").write_text("not parquet")
    with pytest.raises(InputError, match="not a readable table"):
        read_table(tmp_path / "t.parquet")


def test_frames_come_back(tmp_path):
    atoms = Atoms("BN", positions=[[0, 0, 1], [1, 1, 1]], cell=[2.5, 2.5, 15], pbc=(1, 1, 0))
    atoms.info["monolayer_id"] = "hBN"
    write_frames(tmp_path / "x.extxyz", [atoms, atoms])
    back = read_frames(tmp_path / "x.extxyz")
    assert len(back) == 2
    assert back[1].info["monolayer_id"] == "hBN"
    assert back[0].pbc.tolist() == [True, True, False]
    write_frames(tmp_path / "none.extxyz", [])
    assert read_frames(tmp_path / "none.extxyz") == []


def test_log_holds_output_and_traceback_and_the_terminal_one_line(tmp_path):
    log = tmp_path / "logs" / "rule.log"
    code = (
        "from heteroforge.io import InputError, log_to\n"
        f"log_to({str(log)!r})\n"
        "print('progress')\n"
        "raise InputError('table.csv: no such file')\n"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert finished.returncode != 0
    assert finished.stdout == "progress\n"
    assert finished.stderr == "error: table.csv: no such file\n"
    assert "progress" in log.read_text()
    assert "Traceback" in log.read_text()


def test_provenance_names_versions_and_no_machine():
    found = provenance()
    assert found["heteroforge"]
    assert found["packages"]["numpy"] == np.__version__
    assert set(found) == {"heteroforge", "revision", "python", "packages"}


def test_provenance_of_a_campaign_holds_all_that_its_results_follow_from(tmp_path):
    folder = tmp_path / "cifs"
    folder.mkdir()
    (folder / "a.cif").write_text("a")
    ranked = tmp_path / "ranked.csv"
    ranked.write_text("x\n1\n")
    configuration = {"seed": 7, "campaign": "demo"}
    before = campaign_provenance(configuration, [folder], [ranked])
    assert before["seed"] == 7 and before["configuration"] == configuration
    assert before["environment"]["numpy"] == np.__version__
    assert set(before["inputs_sha256"]) == {str(folder / "a.cif")}
    # A known checksum: that of the text "a".
    assert before["inputs_sha256"][str(folder / "a.cif")].startswith("ca978112ca1bbdcafac231b39a2")
    assert campaign_provenance(configuration, [folder], [ranked]) == before
    ranked.write_text("x\n2\n")
    after = campaign_provenance(configuration, [folder], [ranked])
    assert after["results_sha256"] != before["results_sha256"]
    write_json(tmp_path / "provenance.json", after)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("damage", ["truncated", "overwritten", "emptied"])
def test_a_damaged_table_is_noticed_and_named(tmp_path, suffix, damage):
    path = tmp_path / f"ranked{suffix}"
    values = np.random.default_rng(0).random(5000)
    write_table(path, pd.DataFrame({"stack_id": [f"s{i}" for i in range(5000)], "gap_ev": values}))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    if damage == "truncated":
        content = content[: content.index(b"s2500,") + 5 if suffix == ".csv" else middle]
    elif damage == "overwritten":
        content[middle : middle + 64] = bytes(range(192, 256))
    else:
        content = bytearray()
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"ranked{suffix}.*delete it and run again"):
        read_table(path)


def test_rows_of_a_table_of_ones_own_may_end_as_they_like(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("property,value\ngap_ev,1.2\n\n")
    assert len(read_table(path)) == 1
    path.write_text("property,value\ngap_ev,1.2")
    assert len(read_table(path)) == 1
    path.write_text("property,value\n")
    assert len(read_table(path)) == 0


@pytest.mark.parametrize(
    "name", ["clustering/descriptors.parquet", "samples/shard_12.parquet", "screening/selected.csv"]
)
def test_a_file_of_a_campaign_without_its_columns_is_told_by_name(tmp_path, name):
    path = tmp_path / "results" / "demo" / name
    write_table(path, pd.DataFrame({"something": [1]}))
    with pytest.raises(InputError, match=f"{path.name}: no column .*; found something"):
        read_table(path)
    elsewhere = tmp_path / "mine" / path.name
    write_table(elsewhere, pd.DataFrame({"something": [1]}))
    assert list(read_table(elsewhere)) == ["something"]


def test_a_json_file_of_a_campaign_holds_what_it_should(tmp_path):
    path = tmp_path / "gnn" / "calibration.json"
    write_json(path, [])
    with pytest.raises(InputError, match="calibration.json: a list, expected a dict"):
        read_json(path)
    write_json(path, {})
    assert read_json(path) == {}


def test_csv_tells_spreadsheets_that_it_is_utf8(tmp_path):
    for text, start in (("MoS2", b"stack_id,"), ("10 meV/Å²", b"\xef\xbb\xbfstack_id,")):
        frame = pd.DataFrame({"stack_id": ["007"], "reason": [text], "value": [1.5]})
        write_table(tmp_path / "table.csv", frame)
        assert (tmp_path / "table.csv").read_bytes().startswith(start)
        pd.testing.assert_frame_equal(read_table(tmp_path / "table.csv"), frame, check_dtype=False)


def test_columns_are_left_on_the_disk(tmp_path):
    path = tmp_path / "samples" / "shard_0.parquet"
    path.parent.mkdir()
    frame = pd.DataFrame(
        {"stack_id": ["a"], "specification": ["{}"], "layers": ["A/B"], "number_of_atoms": [4]}
    )
    write_table(path, frame)
    assert list(read_table(path, without=["specification"])) == [
        "stack_id", "layers", "number_of_atoms",
    ]  # fmt: skip
    assert list(read_table(path, only=["specification"])) == ["specification"]
    with pytest.raises(InputError, match="no column formula"):
        read_table(path, only=["formula", "stack_id"])
    # What a file of this name must have is missed all the same.
    write_table(path, frame.drop(columns="layers"))
    with pytest.raises(InputError, match="no column layers"):
        read_table(path, without=["specification"])
