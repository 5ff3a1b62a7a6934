"""Cutoffs per element: what a study finds, and that protocols use it."""

import pandas as pd
import pytest

from heteroforge.dft import protocols
from heteroforge.dft.convergence import (
    COLUMNS,
    STRAIN,
    converged_cutoffs,
    errors_by_cutoff,
    model_sheet,
)
from heteroforge.dft.protocols import CONVERGENCE, CUTOFFS, Protocol, Pseudopotentials


def energies(offset: float, slope: float = 0.0, stiffness: float = 40.0, lift: float = 0.3):
    """Energies of a model with a parabola in the strain, in eV."""
    return {
        "rest": offset,
        "short": offset - slope * STRAIN + 0.5 * stiffness * STRAIN**2,
        "long": offset + slope * STRAIN + 0.5 * stiffness * STRAIN**2,
        "moved": offset + lift,
        "levels": [0.0, 1.0, 1.5 + lift],
    }


def test_errors_are_those_against_the_highest_cutoff():
    table = errors_by_cutoff({40: energies(-99.9, slope=0.4, lift=0.302), 90: energies(-100.0)})
    first, last = table.iloc[0], table.iloc[1]
    assert first["energy_mev_atom"] == pytest.approx(50.0)
    assert first["displacement_mev"] == pytest.approx(2.0)
    assert first["levels_mev"] == pytest.approx(2.0)
    # A slope of 0.4 eV moves the minimum of ½ · 40 eV · ε² by −1 %.
    assert first["lattice_percent"] == pytest.approx(-1.0)
    assert last.drop("cutoff_ry").abs().max() == 0


def test_a_cutoff_counts_when_all_above_it_hold_too():
    """An error that passes through zero by chance is no convergence."""
    rows = [
        ("family", "X", cutoff, 0.0, displacement, 0.0, 0.0)
        for cutoff, displacement in ((40, 0.1), (50, 9.0), (60, 2.0), (70, 0.2), (80, 0.0))
    ]
    found = converged_cutoffs(pd.DataFrame(rows, columns=COLUMNS)).loc[("family", "X")]
    assert found.to_dict() == {"quick": 60, "standard": 70, "precise": 70}


def test_the_shipped_cutoffs_follow_from_the_shipped_study():
    study, shipped = pd.read_csv(CONVERGENCE), pd.read_csv(CUTOFFS)
    again = converged_cutoffs(study).reset_index()
    pd.testing.assert_frame_equal(again, shipped, check_dtype=False)
    assert len(shipped) >= 10


def test_the_hardest_element_sets_the_cutoff_of_all(monkeypatch):
    values = {
        "F": {"quick": 90.0, "standard": 70.0},
        "Si": {"quick": 30.0, "standard": 30.0},
    }
    table = {("pseudodojo", element): row for element, row in values.items()}
    monkeypatch.setattr(protocols, "_needed_cutoffs_ry", lambda: table)
    family = Pseudopotentials("pseudodojo")
    assert Protocol.named("quick", family, ["Si", "F"]).cutoff_ry == 90
    assert Protocol.named("quick", family, ["Si"]).cutoff_ry == 60
    assert Protocol.named("standard", family, ["Si", "F"]).cutoff_ry == 80


def test_an_element_that_was_not_studied_gets_what_its_pseudopotential_was_made_for(monkeypatch):
    monkeypatch.setattr(protocols, "_needed_cutoffs_ry", lambda: {("sg15", "Si"): {"quick": 30.0}})
    family = Pseudopotentials("pseudodojo")
    assert family.design_cutoff_ry("As") == 80  # its d states: 9.0² Ry
    assert Protocol.named("quick", family, ["As"]).cutoff_ry == 80
    assert Protocol.named("quick", family, ["I"]).cutoff_ry == 60  # 6.0² Ry


def test_a_file_that_does_not_tell_what_it_was_made_for(tmp_path):
    (tmp_path / "Si.upf").write_text('<UPF version="2.0.1">\n<PP_HEADER z_valence="4.0"/>')
    assert Pseudopotentials(str(tmp_path)).design_cutoff_ry("Si") == 0.0


def test_no_studied_element_needs_more_in_quick_than_its_pseudopotential_was_made_for():
    shipped = pd.read_csv(CUTOFFS)
    made_for = [
        Pseudopotentials(family).design_cutoff_ry(element)
        for family, element in zip(shipped["family"], shipped["element"], strict=True)
    ]
    assert (shipped["quick"] <= made_for).all()
    assert (shipped["quick"] >= 0.45 * pd.Series(made_for)).all()


def test_the_model_has_bonds_of_the_covalent_diameter():
    for element, bond in (("C", 1.52), ("W", 3.24)):
        atoms = model_sheet(element)
        assert atoms.get_distance(0, 1, mic=True) == pytest.approx(bond, abs=0.02)
    assert model_sheet("C", 0.01).cell.lengths()[0] == pytest.approx(1.01 * 1.6 * 1.52)
