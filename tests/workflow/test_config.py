"""The configuration is checked before any job, with one line per fault."""

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from heteroforge.configuration import (
    ConfigurationError,
    asked_for,
    check_configuration,
    describe_configuration,
    interpret_configuration,
    library_files,
    library_sources,
    read_schema,
)
from heteroforge.dft import protocols
from heteroforge.dft.protocols import Pseudopotentials
from heteroforge.screening.selection import OBJECTIVES

ROOT = Path(__file__).parents[2]
SCHEMA = read_schema(ROOT / "config" / "schema.json")
DEFAULTS = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def merged(changes: dict, base: dict = DEFAULTS) -> dict:
    result = copy.deepcopy(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merged(value, result[key])
        else:
            result[key] = value
    return result


@pytest.fixture(autouse=True)
def _no_key(monkeypatch):
    monkeypatch.delenv("MP_API_KEY", raising=False)


def fault_of(changes: dict) -> str:
    with pytest.raises(ConfigurationError) as caught:
        check_configuration(merged(changes), SCHEMA, ROOT)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "path", [None, *sorted((ROOT / "config" / "campaigns").glob("*.yaml"))], ids=str
)
def test_shipped_configurations_are_right(path, tmp_path):
    changes = yaml.safe_load(path.read_text()) if path else {}
    if "path" in changes.get("library", {}):
        changes["library"]["path"] = str(tmp_path)  # downloads are each user's own
    check_configuration(interpret_configuration(merged(changes), SCHEMA), SCHEMA, ROOT)


def test_each_protocol_that_counts_needs_a_cutoff(tmp_path, monkeypatch):
    family = tmp_path / "my_family"
    family.mkdir()
    for element in ("Mo", "S"):
        shutil.copy(Pseudopotentials("pseudodojo").file(element), family)
    dft = {"pseudopotentials": str(family), "protocol": "standard"}
    # Found before anything is trained, with what to do first.
    without_limit = {"dft": dft, "screening": {"maximum_dft_core_min": None}}
    fault = fault_of(without_limit)
    assert 'dft.protocol = "standard"' in fault and "add it under cutoff_ry" in fault
    known = copy.deepcopy(protocols.protocol_table())
    known["standard"]["cutoff_ry"]["my_family"] = 60
    monkeypatch.setattr(protocols, "protocol_table", lambda: known)
    assert "screening.maximum_dft_core_min = 15, by `quick`" in fault_of({"dft": dft})
    check_configuration(merged(without_limit), SCHEMA, ROOT)


@pytest.mark.parametrize("name", ["Mo_ONCV_PBE-1.0.upf", "Mo.UPF"])
def test_pseudopotentials_are_files_named_by_their_element(tmp_path, name):
    shutil.copy(Pseudopotentials("pseudodojo").file("Mo"), tmp_path / name)
    fault = fault_of({"dft": {"pseudopotentials": str(tmp_path)}})
    assert name in fault and "<Element>.upf" in fault


def test_photocatalyst_straddles_both_redox_levels_of_water_from_ph_0_to_7():
    path = ROOT / "config" / "campaigns" / "photocatalyst.yaml"
    targets = yaml.safe_load(path.read_text())["targets"]
    for ph in (0, 7):
        assert targets["cbm_ev"][0] >= -4.44 + 0.059 * ph - 0.005
        assert targets["vbm_ev"][1] <= -5.67 + 0.059 * ph + 0.005
    assert targets["cbm_ev"][1] is None and targets["vbm_ev"][0] is None


@pytest.mark.parametrize(
    ("changes", "key", "value", "expected"),
    [
        ({"clustering": {"minimum_clustersize": 3}}, "clustering.minimum_clustersize", "3", "did"),
        ({"stacks": {"maximum_area_a2": -40}}, "stacks.maximum_area_a2", "-40", "a number > 0"),
        ({"targets": {"gap_ev": [3, 1]}}, "targets.gap_ev", "[3, 1]", "low ≤ high"),
        ({"targets": {"gap_ev": [None, None]}}, "targets.gap_ev", "null", "not null"),
        ({"targets": {"gap_ev": [-1, 1]}}, "targets.gap_ev[0]", "-1", "≥ 0"),
        ({"targets": {"gap_ev": 2}}, "targets.gap_ev", "2", "a window [low, high]"),
        ({"stacks": {"number_of_layers": [2, 5]}}, "stacks.number_of_layers[1]", "5", "≤ 4"),
        ({"stacks": {"number_of_layers": [0, 2]}}, "stacks.number_of_layers[0]", "0", "≥ 1"),
        (
            {
                "stacks": {"number_of_layers": [1, 2]},
                "samples": {"substrate": "MoS2-2H", "defects": {"number": 3}},
            },
            "stacks.number_of_layers",
            "[1, 2]",
            "two layers at least",
        ),
        ({"gvae": {"latent_dimensions": 4}}, "gvae.latent_dimensions", "4", "at least 6"),
        ({"screening": {"alignment": "III"}}, "screening.alignment", "III", "one of any, I, II"),
        ({"targets": {"vbm_ev": [4, 6]}}, "targets.vbm_ev[0]", "4", "≤ 0"),
        ({"dft": {"launcher": "srun -n {rank}"}}, "dft.launcher", "{rank}", "{ranks}"),
        ({"dft": {"launcher": "srun -n {ranks}"}}, "dft.launcher", "srun -n", "--overlap"),
        ({"samples": {"number": 0}}, "samples.number", "0", "an integer ≥ 1"),
        (
            {"screening": {"force_field": {"minimum_contact_ratio": 4}}},
            "screening.force_field.minimum_contact_ratio",
            "4",
            "≤ 3",
        ),
        ({"samples": {"number": "many"}}, "samples.number", '"many"', "an integer"),
        ({"samples": {"formula": "MoS2+WS2"}}, "samples.formula", "MoS2+WS2", "such as MoS2/WSe2"),
        ({"samples": {"formula": "MoS2/WS2/MoS2"}}, "samples.formula", "MoS2/WS2", "2 to 2 layers"),
        ({"samples": {"mode": "around"}}, "samples.seeds", "[]", "at least one stack with"),
        (
            {"samples": {"mode": "interpolate", "seeds": ["a31d"]}},
            "samples.seeds",
            "a31d",
            "two stacks with samples.mode interpolate",
        ),
        (
            {"samples": {"mode": "conditional"}, "gvae": {"conditional_steps": 0}},
            "gvae.conditional_steps",
            "0",
            "samples.mode conditional",
        ),
        ({"prediction": {"structures": "cifs"}}, "prediction.structures", "cifs", "existing file"),
        ({"samples": {"oversampling": 0}}, "samples.oversampling", "0", "an integer ≥ 1"),
        ({"device": "gpu"}, "device", "gpu", "auto, cpu or cuda"),
        ({"campaign": "../elsewhere"}, "campaign", "../elsewhere", "letters, digits"),
        ({"campaign": "a/b"}, "campaign", "a/b", "letters, digits"),
        ({"library": {"source": "c3db"}}, "library.source", "c3db", "one of bundled, folder"),
        ({"library": {"source": ["hetml", "c3db"]}}, "library.source", "c3db", "a list of them"),
        (
            {"library": {"source": ["hetml", "c2db"], "path": ["tests"]}},
            "library.path",
            "tests",
            "one path per source, 2",
        ),
        ({"library": {"source": "materials_project"}}, "materials_project", "MP_API_KEY", "key"),
        ({"library": {"source": "folder"}}, "library.path", "null", "folder of structures"),
        (
            {"library": {"source": "ase_db", "path": "absent.db"}},
            "library.path",
            "absent.db",
            "existing database file",
        ),
        ({"library": {"elements_excluded": ["Mq"]}}, "elements_excluded[0]", "Mq", "symbol"),
        (
            {
                "library": {
                    "source": "materials_project",
                    "materials_project": {"elements": ["Mo", "U"]},
                }
            },
            "library.materials_project.elements",
            '"U"',
            "pseudopotential",
        ),
        ({"labels": {"table": "absent.csv"}}, "labels.table", "absent.csv", "existing file"),
        ({"labels": {"table": "labels.xlsx"}}, "labels.table", "labels.xlsx", ".csv or .parquet"),
        ({"labels": {"from_campaigns": ["absent"]}}, "from_campaigns", "absent", "results.parquet"),
        ({"labels": {"from_campaigns": ["demo"]}}, "from_campaigns", "demo", "other campaigns"),
        ({"dft": {"protocol": "standart"}}, "dft.protocol", "standart", "did you mean standard?"),
        ({"dft": {"pseudopotentials": "sg16"}}, "dft.pseudopotentials", "sg16", "sg15"),
        ({"gnn": None}, "gnn", "null", "a mapping"),
        ({"targets": {"gap": [1, 2]}}, "targets.gap", "[1, 2]", "did you mean targets.gap_ev?"),
    ],
)
def test_fault_names_key_value_and_what_was_expected(changes, key, value, expected):
    message = fault_of(changes)
    assert key in message
    assert value in message
    assert expected in message


def test_objectives_are_those_that_fronts_are_drawn_of():
    assert SCHEMA["$defs"]["objective"]["enum"] == list(OBJECTIVES)


def test_an_alignment_that_is_asked_for_is_a_target():
    assert asked_for(merged({})) == DEFAULTS["targets"]
    asked = asked_for(merged({"screening": {"alignment": "II"}}))
    assert asked == {**DEFAULTS["targets"], "alignment": "II"}


def test_missing_key_is_named():
    config = copy.deepcopy(DEFAULTS)
    del config["stacks"]["maximum_area_a2"]
    with pytest.raises(ConfigurationError, match="stacks.maximum_area_a2: missing"):
        check_configuration(config, SCHEMA, ROOT)


def test_text_from_the_command_line_is_read_as_what_it_is():
    given = {
        "campaign": "12",
        "targets": {"gap_ev": ["1", "null"]},
        "gvae": {"learning_rate": "1e-3", "epochs": "3"},
        "labels": {"bundled": "false", "table": "null"},
        "library": {"elements_excluded": ["No"]},
    }
    assert interpret_configuration(given, SCHEMA) == {
        "campaign": "12",
        "targets": {"gap_ev": [1.0, None]},
        "gvae": {"learning_rate": 0.001, "epochs": 3},
        "labels": {"bundled": False, "table": None},
        "library": {"elements_excluded": ["No"]},
    }


def test_null_takes_an_inherited_window_away():
    config = interpret_configuration(merged({"targets": {"binding_energy_mev_a2": None}}), SCHEMA)
    assert config["targets"] == {"gap_ev": DEFAULTS["targets"]["gap_ev"]}
    check_configuration(config, SCHEMA, ROOT)
    nothing = dict.fromkeys(DEFAULTS["targets"])
    with pytest.raises(ConfigurationError, match="targets = {}: expected at least one property"):
        check_configuration(
            interpret_configuration(merged({"targets": nothing}), SCHEMA), SCHEMA, ROOT
        )


def test_a_folder_of_layers_counts_by_its_files(tmp_path):
    """What is written into a file does not change the time of its folder."""
    for name in ("b.cif", "properties.csv"):
        (tmp_path / name).touch()
    (tmp_path / "older").mkdir()
    sources = [("bundled", "lib"), ("folder", str(tmp_path)), ("cdvae_csv", "layers.csv")]
    found = ["lib/monolayers.extxyz", "lib/monolayers.csv"]
    found += [str(tmp_path / "b.cif"), str(tmp_path / "properties.csv"), "layers.csv"]
    assert library_files(sources) == found
    assert library_files([("folder", "absent")]) == ["absent"]


def test_another_library_takes_the_place_of_the_bundled_one(tmp_path):
    told = fault_of({"library": {"bundled": str(tmp_path)}})
    assert "library.bundled" in told and "monolayers.extxyz" in told
    for name in ("monolayers.extxyz", "monolayers.csv", "bilayers.csv"):
        (tmp_path / name).touch()
    own = merged({"library": {"bundled": str(tmp_path), "source": ["bundled", "hetml"],
                              "path": [None, "tables"]}})["library"]  # fmt: skip
    assert library_sources(own) == [("bundled", str(tmp_path)), ("hetml", "tables")]
    check_configuration(merged({"library": {"bundled": str(tmp_path)}}), SCHEMA, ROOT)


def test_every_key_is_described_and_has_a_default():
    table = describe_configuration(SCHEMA, DEFAULTS)
    open_ended = ("`targets.", "`clustering.works.")
    for line in table.splitlines()[2:]:
        assert "not asked for" not in line or any(start in line for start in open_ended), line
    assert table in (ROOT / "config" / "README.md").read_text(), (
        "config/README.md is behind: put in what `snakemake --quiet all --cores 1 explain_config` "
        "prints"
    )


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("clusterng: {minimum_cluster_size: 3}", "unknown key clusterng"),
        ("stacks: {maximum_mismatch_percent: -3.0}", "stacks.maximum_mismatch_percent = -3.0"),
        ("targets: {gap_ev: [3, 1]}", "targets.gap_ev = [3, 1]"),
        (
            "library: {source: materials_project, materials_project: {elements: [U]}}",
            'library.materials_project.elements = "U"',
        ),
        ("labels: {table: absent.csv}", 'labels.table = "absent.csv"'),
    ],
)
def test_dry_run_stops_within_seconds_with_one_line(tmp_path, content, line):
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(content)
    finished = subprocess.run(
        [sys.executable, "-m", "snakemake", "--dry-run", "--configfile", str(overlay)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert finished.returncode != 0
    output = finished.stdout + finished.stderr
    assert "Traceback" not in output
    # The other line is Snakemake's own, on which configuration files it read.
    told = [x for x in output.splitlines() if x.strip() and not x.startswith("Config file")]
    assert len(told) == 1, output
    assert told[0].startswith(f"configuration: {line}")
