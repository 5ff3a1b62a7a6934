"""Protocols, meshes and pseudopotentials."""

import shutil

import numpy as np
import pytest
from ase.build import graphene

from heteroforge.dft.calculations import cell_for_truncation
from heteroforge.dft.protocols import (
    Protocol,
    Pseudopotentials,
    k_mesh,
    protocol_names,
)
from heteroforge.structures.plane import cell_from_parameters


def test_better_protocols_are_finer_in_everything():
    quick, standard, precise = (
        Protocol.named(n, Pseudopotentials("pseudodojo")) for n in ("quick", "standard", "precise")
    )
    for coarse, fine in ((quick, standard), (standard, precise)):
        assert coarse.cutoff_ry < fine.cutoff_ry
        assert coarse.k_spacing_per_a > fine.k_spacing_per_a
        assert coarse.force_convergence_ev_a > fine.force_convergence_ev_a
        assert coarse.density_convergence_ry_atom > fine.density_convergence_ry_atom


def test_an_unknown_protocol_names_those_that_exist():
    with pytest.raises(ValueError, match="quick.*standard.*precise"):
        Protocol.named("fast", Pseudopotentials("pseudodojo"))
    assert protocol_names() == ["quick", "standard", "precise"]


def test_an_unknown_family_says_what_to_do():
    with pytest.raises(ValueError, match="make setup"):
        Pseudopotentials("no_such_family")


def test_hexagonal_meshes_hold_the_corner_of_the_zone():
    n, m, out_of_plane = k_mesh(cell_from_parameters(2.46, 2.46, 120.0), 0.5)
    assert n % 3 == 0 and n == m and out_of_plane == 1
    assert k_mesh(cell_from_parameters(3.3, 4.6, 90.0), 0.42) == (5, 4, 1)


def test_spacing_is_never_wider_than_asked():
    cell = cell_from_parameters(3.1, 7.2, 97.0)
    mesh = np.array(k_mesh(cell, 0.3)[:2])
    reciprocal = np.linalg.norm(2 * np.pi * np.linalg.inv(cell).T, axis=1)
    assert np.all(reciprocal / mesh <= 0.3 + 1e-9)


def test_the_cell_is_high_enough_for_the_truncation():
    atoms = graphene(vacuum=3.0)
    atoms.positions[1, 2] += 9.7
    height = cell_for_truncation(atoms).cell.array[2, 2]
    # c ≥ 2 (t + 5.3 Å): 30 Å for a layer 9.7 Å thick.
    assert height >= 30.0


def test_a_changed_pseudopotential_is_noticed(tmp_path, monkeypatch):
    import heteroforge.dft.protocols as protocols

    original = Pseudopotentials("pseudodojo")
    family = tmp_path / "pseudodojo"
    family.mkdir()
    shutil.copy(original.file("B"), family / "B.upf")
    monkeypatch.setattr(protocols, "DOWNLOADS", tmp_path)
    Pseudopotentials("pseudodojo").verify(["B"])
    with (family / "B.upf").open("a") as handle:
        handle.write(" ")
    with pytest.raises(ValueError, match="differs"):
        Pseudopotentials("pseudodojo").verify(["B"])


@pytest.mark.parametrize(
    ("entry", "other", "told"),
    [
        ('pseudo_type="NC"', 'pseudo_type="PAW"', "PAW.*norm-conserving"),
        ('functional="PBE"', 'functional="PBESOL"', "PBESOL.*expected PBE"),
        ('functional="PBE"', 'functional=" SLA  PW   PBX  PBC "', None),
    ],
)
def test_another_kind_of_pseudopotential_is_refused(tmp_path, entry, other, told):
    text = Pseudopotentials("pseudodojo").file("B").read_text()
    (tmp_path / "B.upf").write_text(text.replace(entry, other))
    family = Pseudopotentials(str(tmp_path))
    if told is None:
        return family.verify(["B"])
    with pytest.raises(ValueError, match=f"B.upf.*{told}"):
        family.verify(["B"])


def test_valence_from_the_header_and_a_missing_element():
    family = Pseudopotentials("pseudodojo")
    assert family.valence("Mo") == 14.0
    with pytest.raises(ValueError, match="no pseudopotential for Cm"):
        family.file("Cm")
