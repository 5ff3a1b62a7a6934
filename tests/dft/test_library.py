from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from heteroforge.dft.compute_library import LibraryFiles, entry_name, stack_of, start_folder
from heteroforge.dft.monolayers import fit_lattice, thickening_of
from heteroforge.dft.prototypes import starting_structure
from heteroforge.labels import user_labels
from heteroforge.sources.library import read_library
from heteroforge.structures import Monolayer
from heteroforge.structures.matching import contact_gap_a

LIBRARY = Path(__file__).parents[2] / "resources" / "library"


@dataclass
class _Springs:
    """Relaxes like pw.x would if energies were a parabola in both lattice constants."""

    best: np.ndarray
    hessian: np.ndarray
    runs: list[str] = field(default_factory=list)

    def mesh(self, atoms):
        return (3, 3, 1)

    def kept(self, atoms, calculation, name, mesh):
        self.runs.append(name)
        off = atoms.cell.lengths()[:2] / self.best - 1
        energy = float(0.5 * off @ self.hessian @ off)
        return {"energy_ev": energy, "positions_a": atoms.positions}


def test_a_work_folder_holds_steps_of_one_basis_only(tmp_path):
    folder, basis = tmp_path / "MoS2", [{"id": "MoS2"}, {"name": "quick"}, {"Mo": "0"}]
    start_folder(folder, basis)
    (folder / "lattice.json").write_text("{}")
    start_folder(folder, basis)
    assert (folder / "lattice.json").exists()
    start_folder(folder, basis, anew=True)
    assert (folder / "lattice.json").exists()  # begun, and not yet there to be done anew
    (folder / "done.json").write_text("{}")
    start_folder(folder, basis, anew=True)
    assert not (folder / "lattice.json").exists()
    (folder / "lattice.json").write_text("{}")
    start_folder(folder, [*basis[:1], {"name": "standard"}, basis[2]])
    assert not (folder / "lattice.json").exists()


@pytest.mark.parametrize("start", [0.96, 1.0, 1.031])
def test_a_hexagonal_lattice_is_found_from_either_side(start):
    springs = _Springs(np.array([3.18, 3.18]), 80 * np.eye(2))
    atoms, scan = fit_lattice(springs, starting_structure("2H", ["Mo", "S"], 3.18 * start))
    assert atoms.cell.lengths()[0] == pytest.approx(3.18, rel=2e-4)
    assert atoms.cell.angles()[2] == pytest.approx(120.0)
    assert len(scan) == len(springs.runs) == len(set(springs.runs))


def test_a_rectangular_lattice_is_found_along_both_axes():
    springs = _Springs(np.array([3.30, 4.62]), np.array([[60.0, 12.0], [12.0, 15.0]]))
    atoms, _ = fit_lattice(springs, starting_structure("puckered", ["P", "P"], 3.25, 4.75))
    assert atoms.cell.lengths()[:2] == pytest.approx([3.30, 4.62], rel=5e-4)


@pytest.mark.parametrize(
    ("best", "hessian", "most"),
    [
        ((3.32, 4.36), [[60.0, 12.0], [12.0, 15.0]], 15),  # black phosphorus with D3
        ((3.20, 4.80), [[60.0, 29.0], [29.0, 15.0]], 16),  # a valley along neither axis
    ],
)
def test_a_lattice_far_from_its_start_takes_few_cells(best, hessian, most):
    springs = _Springs(np.array(best), np.array(hessian))
    atoms, scan = fit_lattice(springs, starting_structure("puckered", ["P", "P"], 3.3, 4.62))
    assert atoms.cell.lengths()[:2] == pytest.approx(best, rel=1e-3)
    assert len(scan) == len(set(springs.runs)) <= most


@pytest.mark.parametrize(
    ("prototype", "elements", "a", "b", "guessed"),
    [("2H", ["Mo", "S"], 3.18, None, [1]), ("puckered", ["P", "P"], 3.3, 4.62, [1, 3])],
)
def test_atoms_start_where_the_cells_before_lead(prototype, elements, a, b, guessed):
    """Where places are linear in the strain none is left to relax but in each first step."""
    atoms = starting_structure(prototype, elements, a, b)
    moves = np.random.default_rng(7).normal(size=(2, len(atoms), 3))
    left = []

    class Linear(_Springs):
        def kept(self, start, calculation, name, mesh):
            off = start.cell.lengths()[:2] / atoms.cell.lengths()[:2] - 1
            relaxed = start.copy()
            scaled = atoms.get_scaled_positions(wrap=False) + np.tensordot(off, moves, axes=1)
            relaxed.set_scaled_positions(scaled)
            left.append(np.abs(start.positions - relaxed.positions).max())
            energy = float(0.5 * off @ self.hessian @ off)
            return {"energy_ev": energy, "positions_a": relaxed.positions}

    fit_lattice(Linear(atoms.cell.lengths()[:2], np.diag([60.0, 15.0])), atoms)
    assert [n for n, distance in enumerate(left) if distance > 1e-9] == guessed


def test_a_lattice_that_dispersion_pulls_together_takes_three_cells():
    springs = _Springs(np.array([3.15, 3.15]), 80 * np.eye(2))
    fit_lattice(springs, starting_structure("2H", ["Mo", "S"], 3.18))
    assert springs.runs == ["lattice_+0", "lattice_-1", "lattice_-2"]


def test_a_lattice_that_costs_nothing_to_strain_stays_where_it_is():
    springs = _Springs(np.array([3.18, 3.18]), np.zeros((2, 2)))
    atoms, _ = fit_lattice(springs, starting_structure("2H", ["Mo", "S"], 3.18))
    assert atoms.cell.lengths()[0] == pytest.approx(3.18)


def test_a_start_far_off_is_an_error():
    springs = _Springs(np.array([3.9, 3.9]), 80 * np.eye(2))
    with pytest.raises(ValueError, match="no minimum .* a = 3.18"):
        fit_lattice(springs, starting_structure("2H", ["Mo", "S"], 3.18))


def test_the_library_written_is_the_library_read(tmp_path):
    order = [s["id"] for s in yaml.safe_load((LIBRARY / "seeds.yaml").read_text())["monolayers"]]
    files = LibraryFiles.read(LIBRARY, order)
    files.folder = tmp_path
    files.fail("nothing", "ValueError: no such thing")
    files.write()
    again = LibraryFiles.read(tmp_path, order)
    assert again.rows.keys() == files.rows.keys() and len(again.labels) == len(files.labels)
    assert not again.has("nothing") and again.has(order[0])
    for name in ("monolayers.csv", "bilayers.csv"):
        before, after = (pd.read_csv(folder / name) for folder in (LIBRARY, tmp_path))
        pd.testing.assert_frame_equal(after[before.columns], before)


def test_another_protocol_does_not_mix_with_the_library():
    files = LibraryFiles.read(LIBRARY, [])
    found = {"provenance": {"protocol": {"name": "precise"}, "pseudopotentials_sha256": {}}}
    with pytest.raises(ValueError, match="precise.*quick"):
        files.add("BN-honeycomb", found, 1.0)


def test_every_finished_entry_is_in_the_tables():
    seeds = yaml.safe_load((LIBRARY / "seeds.yaml").read_text())
    names = [entry_name(e) for e in seeds["monolayers"] + seeds["stacks"]]
    assert len(names) == len(set(names))
    files = LibraryFiles.read(LIBRARY, names)
    finished = [name for name in files.runs if files.has(name)]
    assert set(finished) <= set(names)
    stacks = {row["stack_id"] for row in files.labels}
    assert len(files.monolayers) + len(stacks) == len(finished)


def test_identifiers_of_bundled_stacks_follow_from_their_specifications():
    library = read_library(LIBRARY / "monolayers.extxyz", LIBRARY / "monolayers.csv")
    labels, foreign = user_labels(LIBRARY / "bilayers.csv", library.monolayers)
    assert foreign == 0
    files = LibraryFiles.read(LIBRARY, [])
    assert set(labels["stack_id"]) == {row["stack_id"] for row in files.labels}


def test_a_registry_of_a_third_is_a_third():
    """0.3333 of a seed keeps the threefold axis, which pw.x would not find 0.0002 Å beside it."""
    layer = Monolayer.from_atoms(starting_structure("honeycomb", ["B", "N"], 2.51))
    entry = {"bottom": "BN", "top": "BN", "registry": [0.3333, 0.6667], "turned": False}
    stack = stack_of(entry, {"BN": layer}, {})
    assert stack.registry(0) == pytest.approx((1 / 3, 2 / 3), abs=1e-12)


def test_the_stiffer_layer_of_a_library_stack_is_strained_less():
    layers = {
        name: Monolayer.from_atoms(starting_structure("honeycomb", ["B", "N"], a))
        for name, a in (("soft", 2.50), ("stiff", 2.54))
    }
    entry = {"bottom": "soft", "top": "stiff", "registry": [0.0, 0.0], "turned": False}
    rows = {"soft": {"stiffness_n_m": 100.0}, "stiff": {"stiffness_n_m": 300.0}}
    stack = stack_of(entry, layers, rows)
    assert stack.a == pytest.approx(2.53) and stack_of(entry, layers, {}).a == pytest.approx(2.52)
    assert stack.interfaces[0].gap_a == pytest.approx(contact_gap_a(stack, 0))


def test_a_stack_on_larger_cells_is_the_one_with_these_cells():
    library = read_library(LIBRARY / "monolayers.extxyz", LIBRARY / "monolayers.csv")
    entry = {"bottom": "SiC-honeycomb", "top": "BeO-honeycomb", "cells": [3, 4], "twist_deg": 30.0}
    stack = stack_of(entry, library.monolayers, {})
    assert [layer.number_of_cells for layer in stack.layers] == [3, 4]
    assert stack.number_of_atoms == 14 and stack.mismatch_percent < 0.2
    assert entry_name(entry) == "SiC-honeycomb__BeO-honeycomb__3_on_4_30deg"
    with pytest.raises(ValueError, match="no match"):
        stack_of(entry | {"twist_deg": 12.0}, library.monolayers, {})


def test_how_thick_a_strained_layer_will_be_is_known_from_its_lattice():
    scan = [[[0.01 * n], 4.0 * n**2, 3.0 * np.exp(-0.6 * 0.01 * n)] for n in (-1, 0, 1, 2)]
    assert thickening_of(scan) == pytest.approx((-0.3, -0.3))
    rectangular = [
        [[x, y], x**2 + y**2, 5.0 * np.exp(-0.2 * x - 0.5 * y)]
        for x, y in ((0, 0), (0.01, 0), (-0.01, 0), (0, 0.01), (0, -0.01))
    ]
    assert thickening_of(rectangular) == pytest.approx((-0.2, -0.5))
    assert thickening_of([]) == (0.0, 0.0)
    buckles = [[[0.01 * n], 4.0 * n**2, thick] for n, thick in ((-1, 0.8), (0, 0.5), (1, 0.06))]
    assert thickening_of(buckles) == (-1.5, -1.5)
    assert thickening_of([[[0.01 * n], n**2, 0.0] for n in (-1, 0, 1)]) == (0.0, 0.0)  # planar
