"""Free atoms of pseudopotentials: levels against those that all electrons have, and orbitals."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from ase.units import Rydberg

from heteroforge.configuration import ConfigurationError, elements_covered
from heteroforge.dft.protocols import CHECKSUMS, DOWNLOADS, Pseudopotentials
from heteroforge.dft.pseudoatoms import (
    PseudoAtom,
    check_soundness,
    reference_configuration,
    with_orbitals,
)

pytestmark = pytest.mark.skipif(
    not (DOWNLOADS / "pseudodojo" / "B.upf").is_file(),
    reason="pseudopotentials are not installed: make setup",
)


def elements_of(family: str) -> list[str]:
    with CHECKSUMS.open(newline="") as handle:
        return [row["element"] for row in csv.DictReader(handle) if row["family"] == family]


STAND_INS = ("Te", "Tl", "Pb", "Bi")  # of SG15


@pytest.mark.parametrize("element", sorted({*elements_of("pseudodojo")} - {*STAND_INS}))
def test_every_file_gives_the_levels_that_it_names(element):
    path = DOWNLOADS / "pseudodojo" / f"{element}.upf"
    named = PseudoAtom.read(path).orbitals
    assert sum(orbital.occupation for orbital in named) == Pseudopotentials("pseudodojo").valence(
        element
    )
    check_soundness(path)


# Files of PseudoDojo name the levels of all electrons, by ONCVPSP; these are of SG15's potentials.
@pytest.mark.parametrize("element", ["H", "S", "Ti", "Zn", "Se", "Zr", "Sn", "I", "W"])
def test_orbitals_lie_where_all_electrons_have_them(element):
    path = DOWNLOADS / "sg15" / f"{element}.upf"
    solved = PseudoAtom.read(path).solve(reference_configuration(path))
    own = PseudoAtom.read(DOWNLOADS / "pseudodojo" / f"{element}.upf").orbitals
    expected = {orbital.label: orbital.energy_ry for orbital in own}
    found = {orbital.label: orbital.energy_ry for orbital in solved}
    shared = expected.keys() & found.keys()  # one of them may have a shell more
    assert len(shared) == min(len(expected), len(found))
    for label in shared:
        assert abs(found[label] - expected[label]) * Rydberg < 0.01, label


# Of the files that SG15's stand in for, as ONCVPSP found them with all electrons (their PP_CHI).
@pytest.mark.parametrize(
    ("element", "levels_ry"),
    [
        ("Te", {"4D": -3.061435922, "5S": -1.110462162, "5P": -0.4375596884}),
        ("Tl", {"5D": -1.138191866, "6S": -0.7016359837, "6P": -0.1742239946}),
        ("Pb", {"5D": -1.556497248, "6S": -0.8849419084, "6P": -0.2570785872}),
        ("Bi", {"5D": -1.990509811, "6S": -1.064037601, "6P": -0.335962258}),
    ],
)
def test_what_stands_in_for_an_incomplete_file_has_its_levels(element, levels_ry):
    path = Pseudopotentials("pseudodojo").file(element)
    for orbital in PseudoAtom.read(path).solve(reference_configuration(path)):
        assert abs(orbital.energy_ry - levels_ry[orbital.label]) * Rydberg < 0.01, orbital.label


def spoil(tmp_path: Path, part: str) -> Pseudopotentials:
    """A family whose selenium lost a projector, or half of what its projectors weigh."""
    text = (DOWNLOADS / "pseudodojo" / "Se.upf").read_text()

    def spoilt(match: re.Match) -> str:
        values = np.array(match[2].split(), dtype=float) * (0.0 if "BETA" in part else 0.5)
        return "\n".join([match[1], *(f"{x:.10E}" for x in values), match[3]])

    section = rf"(<{part}\b.*?>)(.*?)(</{part}>)"
    text, found = re.subn(section, spoilt, text, count=1, flags=re.DOTALL)
    assert found == 1
    (tmp_path / "Se.upf").write_text(text)
    return Pseudopotentials(str(tmp_path))


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("PP_BETA.2", "a projector for s is zero all over"),
        ("PP_DIJ", "its level 3D comes out"),
    ],
)
def test_a_file_that_lost_a_part_is_refused(tmp_path, part, told):
    with pytest.raises(ValueError, match=f"Se.upf: {told}"):
        spoil(tmp_path, part).check(["Se"])


def test_levels_that_a_file_does_not_tell_are_not_compared(tmp_path):
    text = (DOWNLOADS / "pseudodojo" / "H.upf").read_text()
    untold = re.sub(r'pseudo_energy="[^"]*"', 'pseudo_energy="0.0"', text)
    assert untold != text
    (tmp_path / "H.upf").write_text(untold)
    check_soundness(tmp_path / "H.upf")


def test_a_file_with_orbitals_put_in_is_the_same_but_for_them(tmp_path):
    path = DOWNLOADS / "sg15" / "Te.upf"
    (tmp_path / "Te.upf").write_text(with_orbitals(path))
    before, after = PseudoAtom.read(path), PseudoAtom.read(tmp_path / "Te.upf")
    n = len(before.r_a0)
    assert before.r_a0[-1] < 7 and after.r_a0[-1] >= 10.0
    assert np.array_equal(after.local_ry[:n], before.local_ry)
    assert np.array_equal(after.projectors[:, :n], before.projectors)
    assert not after.projectors[:, n:].any()
    assert np.array_equal(after.strengths_ry, before.strengths_ry)
    # What else pw.x reads of a projector, and the weights of the mesh.
    told = re.compile(r'cutoff_radius_index="[^"]*"')
    text, copy = path.read_text(), (tmp_path / "Te.upf").read_text()
    assert told.findall(copy) == told.findall(text) != []
    weights = [
        np.array(re.search(r"<PP_RAB[^>]*>([^<]*)<", found)[1].split(), dtype=float)
        for found in (text, copy)
    ]
    assert np.array_equal(weights[1][:n], weights[0])
    assert np.diff(after.r_a0) == pytest.approx(weights[1][1:])
    # Where the file ends the potential is the one of the ion's charge, and goes on as it.
    assert after.local_ry[n - 1] == pytest.approx(-32 / before.r_a0[-1], rel=1e-4)
    assert after.local_ry[n:] == pytest.approx(-32 / after.r_a0[n:])
    norms = [(orbital.chi**2).sum() * 0.01 for orbital in after.orbitals]
    assert norms == pytest.approx([1.0] * 3, abs=3e-3)
    assert after.density.sum() * 0.01 == pytest.approx(16, abs=0.01)
    # It is sound by its own levels now, and has the electrons of the header.
    check_soundness(tmp_path / "Te.upf")
    assert sum(orbital.occupation for orbital in after.orbitals) == 16
    assert Pseudopotentials(str(tmp_path)).valence("Te") == 16


def test_pw_reads_files_as_they_are_or_copies_with_orbitals(tmp_path):
    family = Pseudopotentials("pseudodojo")
    assert family.for_pw(["S", "Mo", "S"], tmp_path / "none") == family.folder.resolve()
    assert not (tmp_path / "none").exists()
    folder = family.for_pw(["Mo", "Te"], tmp_path / "copies")
    assert sorted(path.name for path in folder.iterdir()) == ["Mo.upf", "Te.upf"]
    assert (folder / "Mo.upf").read_bytes() == family.file("Mo").read_bytes()
    assert [o.label for o in PseudoAtom.read(folder / "Te.upf").orbitals] == ["4D", "5S", "5P"]
    assert not PseudoAtom.read(family.file("Te")).orbitals


def test_a_file_that_does_not_tell_its_orbitals_is_refused(tmp_path):
    text = (DOWNLOADS / "sg15" / "Mo.upf").read_text()
    (tmp_path / "Mo.upf").write_text(text.replace("# atsym", "# symbol"))
    with pytest.raises(ValueError, match="Mo.upf has no atomic orbitals"):
        Pseudopotentials(str(tmp_path)).check(["Mo"])
    with pytest.raises(ConfigurationError, match="Mo.upf has no atomic orbitals"):
        elements_covered(str(tmp_path))
    Pseudopotentials("sg15").check(["Mo"])


def test_a_reference_that_is_an_ion_is_told(tmp_path):
    text = (DOWNLOADS / "sg15" / "B.upf").read_text()
    ion, found = re.subn(r"(\n\s*2\s+1\s+)1\.00", r"\g<1>0.50", text, count=1)
    assert found == 1
    (tmp_path / "B.upf").write_text(ion)
    with pytest.raises(ValueError, match=r"B.upf .*other than the 3 valence electrons.*expected"):
        Pseudopotentials(str(tmp_path)).check(["B"])


def test_half_a_file_is_told(tmp_path):
    text = (DOWNLOADS / "sg15" / "B.upf").read_text()
    (tmp_path / "B.upf").write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match="B.upf is not a whole UPF file"):
        PseudoAtom.read(tmp_path / "B.upf")
