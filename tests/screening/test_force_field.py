"""Relaxation before DFT: what is kept, rejected and set aside, and how slots are filled."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ase.calculators.calculator import Calculator, all_changes

from heteroforge.screening import rank_candidates, select_candidates
from heteroforge.screening.control import add_control
from heteroforge.screening.force_field import (
    COLUMNS,
    ForceField,
    Limits,
    fill_slots,
    judge_drawn,
    relax,
    relax_with_others,
)
from heteroforge.sources import read_library
from heteroforge.structures import Monolayer, Stack
from heteroforge.structures.matching import stack_layers

LIBRARY = Path(__file__).resolve().parents[2] / "resources" / "library"
LIMITS = Limits(
    force_threshold_ev_a=0.02,
    maximum_steps=200,
    minimum_contact_ratio=1.2,
    maximum_interlayer_gap_a=6.0,
    maximum_deformation_a=1.0,
)


class Springs(Calculator):
    """Layers on a spring between their middles, atoms on springs to their place in the layer.

    Harmonic, so that what becomes of a stack is known: layers end `distance_a` apart, the first
    atom of the top layer `moved_a` higher than it was in its layer.
    """

    implemented_properties = ["energy", "forces"]

    def __init__(self, distance_a: float, moved_a: float = 0.0) -> None:
        super().__init__()
        self.distance_a, self.moved_a = distance_a, moved_a
        self.inner = None

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        layers, positions = atoms.arrays["layer"], atoms.positions
        top = layers == 1
        middles = np.array([positions[~top].mean(axis=0), positions[top].mean(axis=0)])
        inner = positions - middles[layers]
        if self.inner is None:
            self.inner = inner.copy()
            chosen = np.flatnonzero(top)
            self.inner[chosen[0], 2] += self.moved_a
            self.inner[chosen] -= self.inner[chosen].mean(axis=0)
        forces = 2.0 * (self.inner - inner)
        excess = middles[1, 2] - middles[0, 2] - self.distance_a
        pull = np.where(top, -excess / top.sum(), excess / (~top).sum())
        forces[:, 2] += 2.0 * pull
        energy = ((self.inner - inner) ** 2).sum() + excess**2
        self.results = {"energy": float(energy), "forces": forces}


class Broken(Calculator):
    """Energies and forces that are not numbers, or an exception."""

    implemented_properties = ["energy", "forces"]

    def __init__(self, message: str = "") -> None:
        super().__init__()
        self.message = message

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if self.message:
            raise RuntimeError(f"{self.message}\nmore of no use")
        self.results = {"energy": float("nan"), "forces": np.full((len(atoms), 3), np.nan)}


def honeycomb(first: str, second: str, a: float) -> Monolayer:
    return Monolayer(
        name=f"{first}{second}",
        a=a,
        b=a,
        gamma_deg=120.0,
        species=(first, second),
        positions=((0.0, 0.0), (1 / 3, 2 / 3)),
        heights=(0.0, 0.0),
    )


@pytest.fixture
def stack() -> Stack:
    layers = [honeycomb("B", "N", 2.51), honeycomb("C", "C", 2.46)]
    return stack_layers(layers, registries=[(1 / 3, 2 / 3)], gaps_a=[3.4])


def test_a_stack_that_holds_together_is_kept(stack):
    found = relax(stack, Springs(3.2), LIMITS)
    assert (found["outcome"], found["reason"]) == ("kept", "")
    assert found["start_gap_a"] == pytest.approx(3.4)
    assert found["interlayer_gap_a"] == pytest.approx(3.2, abs=0.02)
    assert found["force_ev_a"] <= LIMITS.force_threshold_ev_a
    assert found["energy_drop_ev"] == pytest.approx(0.04, abs=1e-3)
    assert found["layer_deformation_a"] < 0.01 and found["registry_shift_a"] < 0.01
    assert set(found) == set(COLUMNS) - {"stack_id", "formula", "only_drawn"}


@pytest.mark.parametrize(
    ("calculator", "outcome", "words"),
    [
        (Springs(1.5), "rejected", "bonds across a gap: "),
        (Springs(7.0), "rejected", "layers come apart: gap 7.0 Å"),
        (Springs(5.0, moved_a=3.0), "rejected", "a layer falls apart: an atom moves 1.5 Å"),
        (Broken(), "failed", "forces are not numbers after 0 steps"),
        (Broken("out of range"), "failed", "out of range"),
    ],
)
def test_reasons(stack, calculator, outcome, words):
    found = relax(stack, calculator, LIMITS)
    assert found["outcome"] == outcome
    assert found["reason"].startswith(words) and "\n" not in found["reason"]


def test_what_does_not_come_to_rest_is_set_aside(stack):
    few = Limits(**{**vars(LIMITS), "maximum_steps": 1})
    found = relax(stack, Springs(4.4), few)
    assert found["outcome"] == "failed" and found["steps"] == 1
    assert "eV/Å after 1 steps" in found["reason"]


def test_the_contact_is_named_with_its_distance(stack):
    found = relax(stack, Springs(1.5), LIMITS)
    # Carbon above boron or nitrogen, at the distance of the layers.
    assert "Å, " in found["reason"] and found["contact_ratio"] < 1.2


@pytest.fixture
def ranked(stack) -> pd.DataFrame:
    n = 12
    scored = pd.DataFrame(
        {
            "stack_id": [f"s{i:02d}" for i in range(n)],
            "specification": stack.to_json(),
            "probability": np.linspace(0.95, 0.73, n),
            "binding_energy_mev_a2": 20.0,
            "gap_ev_std": 0.1,
            "mismatch_percent": 1.0,
            "number_of_atoms": 4,
            "pair": [f"p{i % 6}" for i in range(n)],
            "is_high_symmetry": True,
            "binding_below_best_registry_mev_a2": 0.0,
            "sliding_family": [f"f{i // 2}" for i in range(n)],
        }
    )
    return rank_candidates(scored)


class Judge:
    """Keeps all but every `period`-th stack that it relaxes, and counts."""

    def __init__(self, period: int) -> None:
        self.period, self.judged = period, 0

    def __call__(self, stack, calculator, limits):
        self.judged += 1
        bad = self.judged % self.period == 0
        return dict.fromkeys(COLUMNS[4:-1]) | {
            "outcome": "rejected" if bad else "kept",
            "reason": "bonds" if bad else "",
            "contact_ratio": 1.0 if bad else 1.6,
        }


def fill(ranked, judge, monkeypatch, stack, slots=4, most=5, slides=False):
    name = "relax_with_others" if slides else "relax"
    monkeypatch.setattr(f"heteroforge.screening.force_field.{name}", judge)
    monolayers = {layer.monolayer.name: layer.monolayer for layer in stack.layers}
    return fill_slots(ranked, slots, monolayers, object, LIMITS, most, slides=slides)


def test_rejected_candidates_are_replaced(ranked, stack, monkeypatch):
    judge = Judge(3)
    selected, relaxed = fill(ranked, judge, monkeypatch, stack)
    assert selected["slot"].tolist() == [0, 1, 2, 3]
    outcome = relaxed.set_index("stack_id")["outcome"]
    assert (outcome[selected["stack_id"]] == "kept").all()
    assert judge.judged == len(relaxed) == relaxed["stack_id"].nunique()
    # The third was rejected; the others stay, and the next in rank has its slot.
    unfiltered = select_candidates(ranked, 5)["stack_id"].tolist()
    assert selected["stack_id"].tolist() == unfiltered[:2] + unfiltered[3:]
    assert relaxed["reason"].tolist() == ["", "", "bonds", "", ""]


def test_of_a_rejected_stack_all_that_slide_into_it_are_out(ranked, stack, monkeypatch):
    judge = Judge(2)
    selected, relaxed = fill(ranked, judge, monkeypatch, stack, slots=3, slides=True)
    families = ranked.set_index("stack_id")["sliding_family"]
    outcome = relaxed.set_index("stack_id")["outcome"]
    out = set(families[outcome.index[outcome == "rejected"]])
    assert out and not out & set(families[selected["stack_id"]])
    # None of a rejected family was relaxed a second time.
    assert families[relaxed["stack_id"]].is_unique
    assert len(selected) == 3


@pytest.mark.parametrize(("energy_ev", "outcome"), [(-2.0, "rejected"), (0.0, "kept")])
def test_a_stack_is_rejected_that_slides_into_one_that_bonds(
    stack, monkeypatch, energy_ev, outcome
):
    """Where that one is lower in energy; where it is higher layers stay."""

    def judge(one, calculator, limits):
        if one is stack:
            return {"outcome": "kept", "reason": "", "energy_ev": -1.0, "contact_ratio": 1.6}
        return {
            "outcome": "rejected",
            "reason": "bonds across a gap: B–C 1.70 Å",
            "energy_ev": energy_ev,
            "contact_ratio": 1.0,
        }

    monkeypatch.setattr("heteroforge.screening.force_field.relax", judge)
    found = relax_with_others(stack, None, LIMITS)
    assert found["outcome"] == outcome
    assert found["contact_ratio"] == (1.0 if outcome == "rejected" else 1.6)
    if outcome == "rejected":
        assert (
            found["reason"].startswith("slides into ") and "bonds across a gap" in found["reason"]
        )


def test_a_stack_that_bonds_itself_is_kept_where_it_slides_out_of_it(stack, monkeypatch):
    def judge(one, calculator, limits):
        bonded = one is stack
        return {
            "outcome": "rejected" if bonded else "kept",
            "reason": "bonds across a gap: B–C 1.70 Å" if bonded else "",
            "energy_ev": -1.0 if bonded else -2.0,
            "contact_ratio": 1.0 if bonded else 1.6,
        }

    monkeypatch.setattr("heteroforge.screening.force_field.relax", judge)
    assert relax_with_others(stack, None, LIMITS)["outcome"] == "kept"


@pytest.mark.slow
def test_the_force_field_knows_which_honeycombs_bond_when_they_slide():
    """By DFT aluminium nitride on silicon carbide slides into AA′ and bonds, 53 meV/Å² lower; BN on
    graphene does not (docs/learning.md)."""
    library = read_library(*(LIBRARY / f"monolayers.{kind}" for kind in ("extxyz", "csv")))
    layers = library.monolayers
    turned = [((1, 0), (0, 1)), ((-1, 0), (0, -1))]
    force_field = ForceField()
    found = []
    for below, above in (("AlN-honeycomb", "SiC-honeycomb"), ("BN-honeycomb", "C-graphene")):
        free = stack_layers([layers[below], layers[above]], turned, [(1 / 3, 2 / 3)])
        found.append(relax_with_others(free, force_field, LIMITS))
    assert [f["outcome"] for f in found] == ["rejected", "kept"]
    assert found[0]["reason"].startswith("slides into AA': bonds across a gap: Al–C 2.1")


def test_slots_stay_empty_where_none_holds_together(ranked, stack, monkeypatch):
    selected, relaxed = fill(ranked, Judge(1), monkeypatch, stack, most=2)
    assert selected.empty and len(relaxed) == 8
    selected, relaxed = fill(ranked, Judge(2), monkeypatch, stack, most=1)
    assert selected["slot"].tolist() == [0, 1] and len(relaxed) == 4


def test_without_a_force_field_the_best_have_the_slots(ranked):
    selected, relaxed = fill_slots(ranked, 4, {}, None, LIMITS, 5, slides=False)
    pd.testing.assert_frame_equal(selected, select_candidates(ranked, 4))
    assert relaxed.empty and list(relaxed.columns) == COLUMNS
    nothing, _ = fill_slots(ranked.head(0), 4, {}, ForceField, LIMITS, 5, slides=False)
    assert nothing.empty


@pytest.mark.parametrize("slides", [False, True])
def test_drawn_stacks_are_judged_and_keep_their_slots(ranked, stack, monkeypatch, slides):
    judge = Judge(2)
    selected, relaxed = fill(ranked, judge, monkeypatch, stack, slots=2, slides=slides)
    turned_away = relaxed.loc[relaxed["outcome"] == "rejected", "stack_id"].iloc[0]
    others = ranked[~ranked["stack_id"].isin(set(relaxed["stack_id"]))].tail(3)
    control = pd.concat([ranked[ranked["stack_id"] == turned_away], others])
    given = add_control(
        selected.assign(reason=""), control.assign(formula="BN/C", drawn_from=12), slides=False
    )
    before, monolayers = judge.judged, {m.monolayer.name: m.monolayer for m in stack.layers}
    found, more = judge_drawn(given, relaxed, monolayers, object, LIMITS, slides=slides)
    assert judge.judged == before + 3  # what was relaxed as a candidate is known
    assert found["stack_id"].tolist() == given["stack_id"].tolist()
    verdicts = found.set_index("stack_id")["force_field"]
    assert (verdicts[selected["stack_id"]] == "kept").all()
    assert verdicts[turned_away] == "rejected"
    assert set(verdicts[others["stack_id"]]) == {"kept", "rejected"}
    reasons = found.set_index("stack_id")["force_field_reason"]
    assert (reasons[verdicts == "rejected"] == "bonds").all()
    assert list(more) == COLUMNS
    assert set(more.loc[more["only_drawn"].astype(bool), "stack_id"]) == set(others["stack_id"])
    # Without a force field nothing is said, and nothing stands in the way.
    found, more = judge_drawn(given, relaxed.head(0), monolayers, None, LIMITS, slides=slides)
    assert found["force_field"].isna().all() and more.empty


def trilayer(metal: str, chalcogen: str, a: float, height: float) -> Monolayer:
    return Monolayer(
        name=f"{metal}{chalcogen}2-2H",
        a=a,
        b=a,
        gamma_deg=120.0,
        species=(metal, chalcogen, chalcogen),
        positions=((0.0, 0.0), (1 / 3, 2 / 3), (1 / 3, 2 / 3)),
        heights=(0.0, height, -height),
    )


@pytest.mark.slow
def test_force_field_finds_the_gap_of_mos2_on_ws2():
    """2H stacking (a layer turned by 180°, metal above chalcogen): PBE with D3 has 3.0 Å."""
    layers = [trilayer("Mo", "S", 3.16, 1.56), trilayer("W", "S", 3.16, 1.57)]
    turned = [((1, 0), (0, 1)), ((-1, 0), (0, -1))]
    stack = stack_layers(layers, turned, [(1 / 3, 2 / 3)], gaps_a=[3.5])
    limits = Limits(**{**vars(LIMITS), "force_threshold_ev_a": 0.005})
    field = ForceField()
    found = relax(stack, field, limits)
    assert found["outcome"] == "kept"
    assert found["interlayer_gap_a"] == pytest.approx(3.0, abs=0.25)
    assert relax(stack, field, limits) == found
    # Of an element that it was not trained on it says so, and no number.
    unknown = stack_layers([honeycomb("Po", "N", 3.6)] * 2, registries=[(0, 0)], gaps_a=[3.5])
    found = relax(unknown, field, limits)
    assert found["reason"] == "the force field has no parameters for Po"
    assert found["outcome"] == "failed"


@pytest.mark.slow
def test_forces_are_slopes_and_vacuum_changes_nothing(stack):
    from heteroforge.structures import build

    field = ForceField()
    low, high = (build(stack, vacuum_a=vacuum) for vacuum in (15.0, 40.0))
    low.rattle(0.05, seed=1)
    high.positions[:] = low.positions + [0.0, 0.0, 12.5]
    results = []
    for atoms in (low, high):
        atoms.calc = field
        results.append((atoms.get_potential_energy(), atoms.get_forces()))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-4)
    assert np.allclose(results[0][1], results[1][1], atol=1e-3)
    step = 0.005
    energies = []
    for sign in (-1, 1):
        moved = low.copy()
        moved.positions[2, 2] += sign * step
        moved.calc = field
        energies.append(moved.get_potential_energy())
    slope = -(energies[1] - energies[0]) / (2 * step)
    assert slope == pytest.approx(results[0][1][2, 2], abs=0.05)
