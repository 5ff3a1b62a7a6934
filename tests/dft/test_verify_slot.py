"""Verification of a slot as files, with steps that take no time."""

import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from heteroforge.dft import candidates, scratch, submissions
from heteroforge.dft.candidates import Submission, verify_slot
from heteroforge.dft.collection import read_results, results_table
from heteroforge.dft.running import CalculationFailed, Launcher, OutOfMemory, OutOfTime
from heteroforge.dft.scratch import copy_save, place_save, remove_save
from heteroforge.dft.verification import UNITS, Density
from heteroforge.io import InputError, read_frames, read_json
from heteroforge.labels import campaign_labels
from heteroforge.sources import Library
from heteroforge.sources.library import table_of
from heteroforge.structures import Stack
from heteroforge.structures.matching import find_matches, stack_from_match, stack_layers

SETTINGS = {
    "protocol": "quick",
    "registries": False,
    "mobility": False,
    "pseudopotentials": "pseudodojo",
    "launcher": "auto",
    "maximum_attempts": 5,
    "maximum_submissions": 3,
    "scratch": None,
    "maximum_mismatch_percent": 5.0,
}


class Fakes:
    """Steps of a verification that count how often they ran and fail on request."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.raises: dict[str, Exception] = {}

    def step(self, name: str, result):
        def run(*arguments, **keywords):
            self.ran.append(name)
            if name in self.raises:
                raise self.raises[name]
            return result(*arguments, **keywords) if name == "relax_stack" else result(*arguments)

        return run


@pytest.fixture
def fakes(monkeypatch):
    found = Fakes()

    class Calculator:
        attempts: list = []

        def __init__(self, folder) -> None:
            (folder / "save").mkdir(parents=True, exist_ok=True)

        def clean(self) -> None:
            pass

        def provenance(self, elements) -> dict:
            return {"protocol": {"name": "quick"}, "quantum_espresso": "7.3"}

    bands = type("Bands", (), {"to_dict": lambda self: {"energies_ev": [[0.0]]}})
    steps = {
        "relax_stack": lambda calculator, atoms, **_: {"atoms": atoms, "ionic_steps": 3},
        "compute_density": lambda calculator, atoms, relaxed_in: Density(
            {"energy_ev": -1.0, "began_in": relaxed_in.name}, np.zeros((2, 2)), np.zeros((2, 3))
        ),
        "compute_bands": lambda calculator, atoms, density, layers: (
            bands(),
            {"of_layers": [layer["layer"] for layer in layers]},
        ),
        "relax_layer": lambda calculator, atoms, layer, stack, shared, espresso: {
            "layer": layer,
            "espresso_versions": [espresso],
        },
        "assemble": lambda *_: dict.fromkeys(UNITS) | {"gap_ev": 1.2},
    }
    for name, result in steps.items():
        monkeypatch.setattr(candidates, name, found.step(name, result))
    monkeypatch.setattr(candidates, "calculator_for", lambda folder, *_: Calculator(folder))
    monkeypatch.setattr(candidates, "claim_folder", lambda folder, _: folder.mkdir(exist_ok=True))
    return found


def library_of(monolayers: dict, relaxed: bool = True) -> Library:
    """A library, its lattice constants by this project's DFT or by another."""
    known = {"protocol": "quick" if relaxed else "C2DB PBE"}
    stiffness = {"MoSS": 120.0, "WSS": 140.0}
    return Library(
        monolayers,
        table_of(
            monolayers,
            {name: known | {"stiffness_n_m": stiffness.get(name)} for name in monolayers},
        ),
    )


@pytest.fixture
def verify(fakes, small_monolayers, tmp_path):
    """Verify slot 0 of a table with one candidate; keywords change settings."""
    bottom, top = small_monolayers["MoSS"], small_monolayers["WSS"]
    match = find_matches(bottom, top, 12.0, 5.0, 6)[0]
    stack = stack_from_match(bottom, top, match, (0.0, 0.0), 3.1)

    def run(
        attempt: int = 1,
        slot: int = 0,
        predicted: float = 1.0,
        if_slid: str = "{}",
        stack: Stack = stack,
        also: dict | None = None,
        relaxed: bool = True,
        **changes,
    ) -> dict:
        row = {"slot": 0, "stack_id": stack.key(), "specification": stack.to_json()}
        return verify_slot(
            slot,
            pd.DataFrame(
                [row | {"gap_ev": predicted, "predicted_if_slid": if_slid} | dict(also or {})]
            ),
            library_of(small_monolayers, relaxed),
            tmp_path / "slot_0",
            settings=SETTINGS | changes,
            targets={"gap_ev": [1.0, None]},
            launcher=Launcher(),
            submission=Submission(attempt, 60, 2000),
        )

    return run


def test_finished_steps_are_taken_as_they_are(verify, fakes, tmp_path):
    first = verify()
    assert first["status"] == "verified" and first["meets_target"]
    assert first["properties"]["gap_ev"] == {"value": 1.2, "unit": "eV"}
    assert Stack.from_dict(first["specification"]).number_of_layers == 2
    everything = ["relax_stack", *["relax_layer"] * 2, "compute_density", "compute_bands"]
    assert fakes.ran == [*everything, "assemble"]
    assert read_json(tmp_path / "slot_0/bands.json")["masses"] == {"of_layers": [0, 1]}
    assert read_json(tmp_path / "slot_0/scf/result.json")["began_in"] == "relax"
    assert not (tmp_path / "slot_0" / "scf" / "save").exists()

    fakes.ran.clear()
    again = verify(predicted=0.9)  # trained anew: other predictions, the same stack
    assert fakes.ran == ["assemble"]
    assert again["predicted"] == {"gap_ev": 0.9}

    fakes.ran.clear()
    verify(protocol="standard")
    assert fakes.ran == [*everything, "assemble"]


@pytest.mark.parametrize(
    ("file", "damage", "repeated"),
    [
        ("relaxed.extxyz", lambda text: text[: len(text) // 2], "relax_stack"),
        ("scf/result.json", lambda text: text[: len(text) // 2], "compute_density"),
        ("potential.csv", lambda text: text.replace("0.0", "9.9", 1), "compute_density"),
        ("bands.json", lambda text: "", "compute_bands"),
        ("layer_1/result.json", lambda text: "[]", "relax_layer"),
    ],
)
def test_what_is_damaged_is_computed_again(verify, fakes, tmp_path, file, damage, repeated):
    before = verify()
    fakes.ran.clear()
    path = tmp_path / "slot_0" / file
    path.write_text(damage(path.read_text()))
    after = verify()
    assert repeated in fakes.ran and fakes.ran.count("relax_layer") < 2
    assert after["properties"] == before["properties"]


def test_a_density_left_on_another_node_is_computed_again(verify, fakes, tmp_path):
    fakes.raises["compute_bands"] = OutOfTime("bands: 3 s are left")
    with pytest.raises(OutOfTime):
        verify()
    shutil.rmtree(tmp_path / "slot_0" / "scf" / "save")
    fakes.raises.clear()
    fakes.ran.clear()
    assert verify(attempt=2)["status"] == "verified"
    assert fakes.ran[:2] == ["compute_density", "compute_bands"]


def test_a_density_that_was_cut_short_is_computed_again(verify, fakes, tmp_path):
    fakes.raises["compute_bands"] = OutOfTime("bands: 3 s are left")
    with pytest.raises(OutOfTime):
        verify()
    shutil.rmtree(tmp_path / "slot_0" / "scf" / "save")
    fakes.raises["compute_density"] = OutOfTime("scf: 3 s are left")
    with pytest.raises(OutOfTime):
        verify(attempt=2)
    assert (tmp_path / "slot_0" / "scf" / "save").is_dir()
    fakes.raises.clear()
    fakes.ran.clear()
    assert verify(attempt=3)["status"] == "verified"
    assert fakes.ran[:2] == ["compute_density", "compute_bands"]


def test_a_layer_that_fails_fails_the_candidate(verify, fakes):
    fakes.raises["relax_layer"] = CalculationFailed("relax: no luck", [{"attempt": 1}])
    result = verify()
    assert (result["status"], result["step"]) == ("failed", "layer_0")
    assert result["reason"] == "relax: no luck"


def test_a_failed_step_fails_the_candidate_and_is_tried_again(verify, fakes):
    fakes.raises["compute_density"] = CalculationFailed("scf: no luck", [{"attempt": 1}])
    result = verify()
    assert (result["status"], result["step"], result["reason"]) == ("failed", "scf", "scf: no luck")
    assert result["slot"] == 0 and len(result["stack_id"]) > 8
    fakes.raises.clear()
    fakes.ran.clear()
    assert verify()["status"] == "verified"
    assert "relax_stack" not in fakes.ran


def test_a_broken_specification_names_its_slot(verify, fakes, small_monolayers, tmp_path):
    broken = pd.DataFrame([{"slot": 0, "stack_id": "abc", "specification": "{"}])
    result = verify_slot(
        0, broken, library_of(small_monolayers), tmp_path / "slot_0", settings=SETTINGS, targets={},
        launcher=Launcher(), submission=Submission(),
    )  # fmt: skip
    assert (result["status"], result["slot"], result["stack_id"]) == ("failed", 0, "abc")
    assert fakes.ran == []


def test_an_element_without_pseudopotential_fails_its_candidate_alone(
    verify, fakes, small_monolayers, tmp_path
):
    verify()
    fakes.ran.clear()
    layer = small_monolayers["MoSS"]
    plutonium = replace(layer, name="", species=("Pu", *layer.species[1:]))
    result = verify(stack=stack_layers([plutonium, layer]))
    assert (result["status"], result["step"]) == ("failed", "candidate")
    assert "no pseudopotential for Pu" in result["reason"] and not fakes.ran
    assert verify()["status"] == "verified"


def test_a_slot_without_a_candidate_is_empty(verify, fakes, tmp_path):
    assert verify(slot=3) == {"status": "empty", "slot": 3}
    assert fakes.ran == []


def test_a_candidate_that_ends_every_job_is_given_up(verify, fakes, tmp_path):
    """Killed without a word, out of time, of memory: after three such jobs it is a failure."""
    folder = tmp_path / "slot_0"
    for attempt, error in ((1, OutOfTime), (2, OutOfTime), (3, OutOfMemory)):
        fakes.raises["compute_density"] = error("scf: stopped itself")
        with pytest.raises(error):
            verify(attempt)
        if attempt == 1:  # a killed process cannot say how it ended
            records = submissions.history(folder)
            records[-1]["ended"] = None
            (folder / "submissions.json").write_text(json.dumps(records))
    # The first had finished steps: it does not count.
    with pytest.raises(OutOfMemory):
        verify(4)
    result = verify(5)
    assert (result["status"], result["step"]) == ("failed", "scf")
    assert "3 jobs ended" in result["reason"] and "2000 MB" in result["reason"]
    # Starting the campaign again is a new chance.
    fakes.raises.clear()
    assert verify(1)["status"] == "verified"
    assert [r["ended"] for r in submissions.history(folder)][-1] == "verified"


def test_a_candidate_is_given_up_in_the_step_it_was_in(verify, fakes):
    fakes.raises["relax_layer"] = OutOfTime("relax: stopped itself")
    for attempt in (1, 2, 3, 4):
        with pytest.raises(OutOfTime):
            verify(attempt)
    result = verify(5)
    assert (result["status"], result["step"]) == ("failed", "layer_0")


def test_a_candidate_that_gains_in_every_job_is_not_given_up_soon(verify, fakes, tmp_path):
    fakes.raises["compute_density"] = OutOfTime("scf: stopped itself")
    kept = tmp_path / "slot_0" / "strain"
    kept.mkdir(parents=True)
    for attempt in range(1, 7):
        with pytest.raises(OutOfTime):
            verify(attempt)
        (kept / f"{attempt}.json").write_text("{}")
    assert verify(7)["reason"].startswith("6 jobs ended")  # as many as the profile submits


def test_late_jobs_of_a_batch_give_up_none_that_was_cut_short_once(verify, fakes):
    """The jobs before were cut short in other slots, or could not start at all."""
    fakes.raises["compute_density"] = OutOfTime("scf: stopped itself")
    for attempt in (6, 7):
        with pytest.raises(OutOfTime):
            verify(attempt)


def test_records_count_in_the_call_of_the_workflow_that_made_them(tmp_path, monkeypatch):
    """Even if the first job of the next call never began, and not where jobs were queued again."""
    monkeypatch.setenv("SLURM_JOB_NAME", "first-call")
    for attempt, job in ((1, "10"), (2, "11"), (2, "11"), (3, "12")):
        monkeypatch.setenv("SLURM_JOB_ID", job)
        submissions.begin(tmp_path, attempt, {})
    started = [record["started"] for record in submissions.history(tmp_path)]
    monkeypatch.setenv("SLURM_JOB_ID", "13")
    counted = [record["started"] for record in submissions.cut_short(tmp_path)]
    assert counted == [started[0], started[2], started[3]]
    assert submissions.series(tmp_path) == started[0]
    monkeypatch.setenv("SLURM_JOB_NAME", "second-call")
    assert submissions.cut_short(tmp_path) == []
    submissions.begin(tmp_path, 2, {})
    assert submissions.series(tmp_path) == submissions.history(tmp_path)[-1]["started"]


def test_what_failed_is_not_computed_again_by_the_next_job(verify, fakes):
    """Jobs of several candidates end by another one's walltime; a campaign begun anew is a new
    chance."""
    fakes.raises["relax_stack"] = CalculationFailed("relax: no", [])
    assert verify(1)["status"] == "failed"
    ran = list(fakes.ran)
    assert verify(2)["status"] == "failed" and fakes.ran == ran
    fakes.raises.clear()
    assert verify(1)["status"] == "verified" and fakes.ran != ran


def test_a_broken_machine_gives_no_candidate_up(verify, fakes, tmp_path):
    fakes.raises["relax_stack"] = FileNotFoundError("pw.x is not on PATH")
    for attempt in (1, 2, 3, 4, 5):
        with pytest.raises(FileNotFoundError):
            verify(attempt)
    assert not (tmp_path / "slot_0" / "result.json").exists()


def test_scratch_on_a_local_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    monkeypatch.setenv("NODE_DISK", str(disk))
    folder = tmp_path / "scf"
    (folder / "save").mkdir(parents=True)
    place_save(folder, "$NODE_DISK")
    (folder / "save" / "density").write_text("1")
    assert [p.name for p in disk.glob("*/density")] == ["density"]
    place_save(folder, "$NODE_DISK")  # the next step finds what this one left
    assert (folder / "save" / "density").exists()
    remove_save(folder)
    assert not list(disk.iterdir()) and not (folder / "save").is_symlink()

    place_save(folder, "$NODE_DISK")
    shutil.rmtree(next(disk.iterdir()))  # the node was lost
    place_save(folder, "$NODE_DISK")
    assert (folder / "save").is_dir()
    place_save(folder, None)
    assert not (folder / "save").exists()
    # Of jobs that were killed: one went on at another node, one was taken away, one is at work.
    for name in ("moved", "gone", "at_work"):
        place_save(tmp_path / name, "$NODE_DISK")
    (tmp_path / "moved" / "save").unlink()
    (tmp_path / "moved" / "save").symlink_to(tmp_path / "elsewhere")
    shutil.rmtree(tmp_path / "gone")
    for name in list(scratch._held):  # locks end with the process that has them
        if name != (tmp_path / "at_work" / "save").resolve():
            scratch._held.pop(name).close()
    begun = disk / "heteroforge-begun"
    begun.mkdir()
    place_save(folder, "$NODE_DISK")
    linked = {os.readlink(tmp_path / name / "save") for name in ("scf", "at_work")}
    assert {str(path) for path in disk.iterdir()} == linked | {str(begun)}
    with pytest.raises(OSError, match=r"\$NO_SUCH_DISK is not set"):
        place_save(folder, "$NO_SUCH_DISK/me")


def test_scratch_of_a_running_job_stays(tmp_path):
    """Where a density was copied into it, where another name leads to the disk, and where a job in
    a container names a link that is not seen from outside."""
    disk = tmp_path / "disk"
    disk.mkdir()
    for name in ("scf", "bands"):
        place_save(tmp_path / name, str(disk))
    copy_save(tmp_path / "scf/save", tmp_path / "bands/save")
    (tmp_path / "same_disk").symlink_to(disk)
    place_save(tmp_path / "other", str(tmp_path / "same_disk"))
    (tmp_path / "scf" / "save").rename(tmp_path / "hidden")
    place_save(tmp_path / "next", str(disk))
    assert len(list(disk.iterdir())) == 4
    # Nor where the disk has no locks, as long as its link leads to it.
    for handle in scratch._held.values():
        handle.close()
    scratch._held.clear()
    place_save(tmp_path / "after", str(tmp_path / "same_disk"))
    left = {
        os.path.realpath(tmp_path / name / "save") for name in ("bands", "other", "next", "after")
    }
    assert {str(path) for path in disk.iterdir()} == left


def test_walltime_counts_only_where_a_scheduler_enforces_it(monkeypatch):
    for name in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    assert submissions.seconds_left(60) is None
    monkeypatch.setenv("PBS_JOBID", "12")
    assert submissions.seconds_left(60) == 3600 and submissions.scheduler_job() == "job 12"


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("1-02:03:04", 93784),
        ("2:03:04", 7384),
        ("9:59", 599),
        ("UNLIMITED", None),
        ("INVALID", 3600),
        ("", 3600),
    ],
)
def test_slurm_tells_what_is_left_of_a_walltime(monkeypatch, tmp_path, told, seconds):
    (tmp_path / "squeue").write_text(f'#!/bin/sh\necho "{told}"\n')
    (tmp_path / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert submissions.seconds_left(60) == seconds


@pytest.mark.parametrize("content", ['[{"status": "verified"}]', '[{"slot": 1}]', "{}"])
def test_results_of_another_form_are_told_by_file(tmp_path, content):
    path = tmp_path / "dft" / "slots_0-0.json"
    path.parent.mkdir()
    path.write_text(content)
    with pytest.raises(InputError, match="slots_0-0.json: a .*delete it and run again"):
        read_results(path)


def test_the_registry_that_layers_slide_into_is_verified(
    verify, fakes, monkeypatch, small_monolayers, tmp_path
):
    """And the predictions that stand beside it are of that one."""
    asked = verify()
    assert asked["registries"] is None and asked["verified_stack_id"] == asked["stack_id"]

    def compare(scan, stack):
        lower = {"is_asked": False, "offset": [1 / 3, 2 / 3], "gap_a": 2.8, "energy_mev_a2": 0.0}
        own = {"is_asked": True, "offset": [0.0, 0.0], "gap_a": 3.4, "energy_mev_a2": 30.0}
        more = {"stack_id": "x", "stacking": "AB", "attempts": []}
        return [lower | more, own | more]

    monkeypatch.setattr(candidates, "compare_registries", compare)
    fakes.ran.clear()
    slid = verify(registries=True)
    # A folder that was verified without the comparison is begun anew.
    assert fakes.ran[0] == "relax_stack"
    stack = Stack.from_dict(slid["specification"])
    assert stack.interfaces[0].offset == pytest.approx((1 / 3, 2 / 3))
    assert stack.interfaces[0].gap_a == 2.8
    assert slid["stack_id"] == asked["stack_id"]
    assert slid["verified_stack_id"] == stack.key() != slid["stack_id"]
    runs = [{"core_seconds": 30.0, "symptom": "bands"}, {"core_seconds": 50.5}]
    table = results_table([slid | {"protocol": {"name": "quick"}, "attempts": runs}])
    assert table.loc[0, "core_seconds"] == 80.5 and table.loc[0, "wasted_core_seconds"] == 30.0
    assert table.loc[0, "verified_stack_id"] == stack.key()
    assert table.loc[0, "stack_id"] == asked["stack_id"]
    # The next campaign knows it by the same name.
    table.assign(registry_shift_a=0.0, gap_ev=1.0).to_parquet(tmp_path / "results.parquet")
    labels, _ = campaign_labels(tmp_path / "results.parquet", small_monolayers)
    assert set(labels["stack_id"]) == set(table["verified_stack_id"])
    # Nothing was predicted of the registry that it slid into.
    assert np.isnan(table.loc[0, "predicted_gap_ev"])
    told = slid | {"predicted": {"gap_ev": 0.7, "gap_ev_std": 0.2}, "protocol": {"name": "quick"}}
    row = results_table([told]).iloc[0]
    assert row["predicted_gap_ev"] == 0.7 and row["predicted_gap_ev_std"] == 0.2
    assert np.isnan(row["predicted_vbm_ev"])

    # The screen did not ask about that registry, or it did.
    assert asked["predicted"] == {"gap_ev": 1.0} and slid["predicted"] == {"gap_ev": None}
    said = json.dumps({stack.key(): {"gap_ev": 0.7}, "another": {"gap_ev": 0.1}})
    assert verify(registries=True, if_slid=said)["predicted"] == {"gap_ev": 0.7}
    # The gap before it is cut off at zero is that of the registry that was asked for, too.
    told = verify(registries=True, if_slid=said, also={"gap_unclipped_ev": 1.0})["predicted"]
    assert told == {"gap_ev": 0.7, "gap_unclipped_ev": None}


@pytest.fixture
def proposed(small_monolayers) -> Stack:
    """A stack with a layer that no library knows, its lattice constant a guess."""
    bottom = replace(small_monolayers["MoSeSe"], a=3.2, b=3.2, name="")
    return stack_layers(
        [bottom, small_monolayers["WSS"]], registries=[(1 / 3, 2 / 3)], gaps_a=[3.1]
    )


def finds(fakes, a: float):
    """Stands for the fit of a lattice constant, and gives heights that another cell brings."""

    def fit(run, layer, shared):
        found = replace(layer, a=a, b=a, heights=tuple(1.01 * h for h in layer.heights))
        return {"monolayer": found.to_dict(), "scan": [], "attempts": [{"step": "lattice"}]}

    return fakes.step("free_monolayer", fit)


def test_layers_that_no_library_knows_get_their_own_lattice(
    verify, fakes, proposed, monkeypatch, tmp_path
):
    monkeypatch.setattr(candidates, "free_monolayer", finds(fakes, 3.3))
    result = verify(stack=proposed)
    assert fakes.ran[:2] == ["free_monolayer", "relax_stack"]
    (lattice,) = result["lattices"]
    assert (lattice["proposed"], lattice["found"]) == ([3.2, 3.2], [3.3, 3.3])
    stack = Stack.from_dict(result["specification"])
    # The mean of 3.3 and 3.19 Å, as both layers share the strain; registry and gap as asked for.
    assert (stack.a, stack.b) == pytest.approx((3.245, 3.245))
    assert stack.layers[0].monolayer.a == 3.3
    assert stack.layers[0].monolayer.thickness_a == pytest.approx(
        1.01 * proposed.layers[0].monolayer.thickness_a, abs=1e-4
    )
    assert stack.registry(0) == pytest.approx((1 / 3, 2 / 3), abs=1e-4)
    assert stack.interfaces[0].gap_a == 3.1
    atoms = read_frames(tmp_path / "slot_0" / "relaxed.extxyz")[0]
    assert atoms.cell.lengths()[0] == pytest.approx(3.245)
    # It is the candidate that was predicted, though its geometry is another.
    assert result["stack_id"] == proposed.key() and result["predicted"] == {"gap_ev": 1.0}
    assert {"step": "lattice"} in result["attempts"]
    fakes.ran.clear()
    assert verify(stack=proposed)["lattices"] == [lattice]
    assert fakes.ran == ["assemble"]


def test_a_stack_of_known_layers_has_no_such_step(verify, fakes, monkeypatch, tmp_path):
    monkeypatch.setattr(candidates, "free_monolayer", finds(fakes, 3.3))
    assert verify()["lattices"] == []
    assert "free_monolayer" not in fakes.ran and not (tmp_path / "slot_0" / "lattice").exists()


def test_layers_of_another_library_are_verified_on_lattices_of_this_dft(
    verify, fakes, monkeypatch, tmp_path
):
    monkeypatch.setattr(candidates, "free_monolayer", finds(fakes, 3.2))
    result = verify(relaxed=False)
    assert fakes.ran[:3] == ["free_monolayer", "free_monolayer", "relax_stack"]
    assert [lattice["in_library"] for lattice in result["lattices"]] == [True, True]
    atoms = read_frames(tmp_path / "slot_0" / "relaxed.extxyz")[0]
    assert atoms.cell.lengths()[0] == pytest.approx(3.2)
    # What learns from it knows the layers as their library has them.
    stack = Stack.from_dict(result["specification"])
    assert stack.a == pytest.approx(3.187, abs=0.004)
    assert result["verified_stack_id"] == result["stack_id"] == stack.key()
    assert result["predicted"] == {"gap_ev": 1.0}
    fakes.ran.clear()
    assert verify(relaxed=False) == result and fakes.ran == ["assemble"]
    # Known to be of this DFT after all: the cell is another, so everything is computed anew.
    fakes.ran.clear()
    assert verify()["lattices"] == []
    assert "relax_stack" in fakes.ran and "free_monolayer" not in fakes.ran


def test_beside_a_proposed_layer_another_library_s_keeps_its_words(
    verify, fakes, proposed, small_monolayers, monkeypatch, tmp_path
):
    monkeypatch.setattr(candidates, "free_monolayer", finds(fakes, 3.3))
    stack = Stack.from_dict(verify(stack=proposed, relaxed=False)["specification"])
    atoms = read_frames(tmp_path / "slot_0" / "relaxed.extxyz")[0]
    assert atoms.cell.lengths()[0] == pytest.approx(3.3)
    assert stack.layers[0].monolayer.a == 3.3
    assert stack.layers[1].monolayer.a == pytest.approx(small_monolayers["WSS"].a)
    assert stack.a == pytest.approx((3.3 + small_monolayers["WSS"].a) / 2, abs=1e-4)


def test_strain_on_new_lattices_is_shared_by_stiffness(
    verify, fakes, small_monolayers, monkeypatch, tmp_path
):
    def fit(run, layer, shared):
        found = replace(layer, a=3.1, b=3.1) if "Mo" in layer.species else layer
        return {"monolayer": found.to_dict(), "scan": [], "attempts": []}

    monkeypatch.setattr(candidates, "free_monolayer", fakes.step("free_monolayer", fit))
    verify(relaxed=False)
    atoms = read_frames(tmp_path / "slot_0" / "relaxed.extxyz")[0]
    expected = (120.0 * 3.1 + 140.0 * small_monolayers["WSS"].a) / 260.0
    assert atoms.cell.lengths()[0] == pytest.approx(expected, abs=1e-4)


def test_layers_that_do_not_fit_once_their_lattice_is_known(verify, fakes, proposed, monkeypatch):
    monkeypatch.setattr(candidates, "free_monolayer", finds(fakes, 3.6))
    result = verify(stack=proposed)
    assert (result["status"], result["step"]) == ("failed", "lattice")
    assert (
        "layers do not fit: DFT finds MoSe2 a = 3.600 Å (proposed with 3.200 Å)"
        in (result["reason"])
    )
    assert "more than 5 %" in result["reason"] and "relax_stack" not in fakes.ran


def test_a_lattice_that_cannot_be_found_fails_the_candidate(verify, fakes, proposed, monkeypatch):
    monkeypatch.setattr(candidates, "free_monolayer", finds(fakes, 3.3))
    fakes.raises["free_monolayer"] = ValueError("no minimum of the energy within 8 %")
    result = verify(stack=proposed)
    assert (result["status"], result["step"]) == ("failed", "lattice")
    assert result["reason"].startswith("lattice constant of MoSe2: no minimum")
    fakes.raises["free_monolayer"] = OutOfTime("lattice: 3 s are left")
    with pytest.raises(OutOfTime):
        verify(stack=proposed)
