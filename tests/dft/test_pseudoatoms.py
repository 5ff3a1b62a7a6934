"""Free atoms of pseudopotentials: levels against those that all electrons have, and orbitals."""

from __future__ import annotations

import csv
import re

import numpy as np
import pytest
from ase.units import Rydberg

from heteroforge.dft.protocols import CHECKSUMS, DOWNLOADS, WITH_ORBITALS, Pseudopotentials
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


@pytest.mark.parametrize("element", elements_of("pseudodojo"))
def test_every_file_gives_the_levels_that_it_names(element):
    check_soundness(DOWNLOADS / "pseudodojo" / f"{element}.upf")


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


@pytest.mark.parametrize(
    ("section", "told"),
    [
        (r"(<PP_BETA.2\b.*?>)(.*?)(</PP_BETA.2>)", "a projector for s is zero all over"),
        (r"(<PP_DIJ\b.*?>)(.*?)(</PP_DIJ>)", "its level 3D comes out"),
    ],
)
def test_a_file_that_lost_a_part_is_refused(tmp_path, section, told):
    text = (DOWNLOADS / "pseudodojo" / "Se.upf").read_text()

    def spoilt(match: re.Match) -> str:
        values = np.array(match[2].split(), dtype=float)
        lines = "\n".join(f"{x * 0.0 if 'BETA' in section else x * 0.5:.10E}" for x in values)
        return f"{match[1]}\n{lines}\n{match[3]}"

    text, found = re.subn(section, spoilt, text, count=1, flags=re.DOTALL)
    assert found == 1
    (tmp_path / "Se.upf").write_text(text)
    with pytest.raises(ValueError, match=f"Se.upf: {told}"):
        Pseudopotentials(str(tmp_path)).check_soundness("Se")


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
    # Where the file ends the potential is the one of the ion's charge, and goes on as it.
    assert after.local_ry[n - 1] == pytest.approx(-32 / before.r_a0[-1], rel=1e-4)
    assert after.local_ry[n:] == pytest.approx(-32 / after.r_a0[n:])
    norms = [(orbital.chi**2).sum() * 0.01 for orbital in after.orbitals]
    assert norms == pytest.approx([1.0] * 3, abs=3e-3)
    assert after.density.sum() * 0.01 == pytest.approx(16, abs=0.01)
    # It is sound by its own levels now, and has the electrons of the header.
    check_soundness(tmp_path / "Te.upf")
    assert sum(orbital.occupation for orbital in after.orbitals) == 16
    family = Pseudopotentials(str(tmp_path))
    family.verify(["Te"])
    assert family.valence("Te") == 16


def test_pw_reads_files_as_they_are_or_copies_with_orbitals(tmp_path, monkeypatch):
    monkeypatch.setattr("heteroforge.dft.protocols.WITH_ORBITALS", tmp_path)
    family = Pseudopotentials("pseudodojo")
    assert family.for_pw(["S", "Mo", "S"]) == (
        family.folder.resolve(),
        {"Mo": "Mo.upf", "S": "S.upf"},
    )
    folder, names = family.for_pw(["Mo", "Te"])
    assert folder == tmp_path and names["Te"].startswith("Te-c21605858eba")
    assert (folder / names["Mo"]).read_bytes() == family.file("Mo").read_bytes()
    assert [o.label for o in PseudoAtom.read(folder / names["Te"]).orbitals] == ["4D", "5S", "5P"]
    written = (folder / names["Te"]).stat().st_mtime_ns
    family.for_pw(["Te"])
    assert (folder / names["Te"]).stat().st_mtime_ns == written
    # What a calculation rests on is the file that was installed.
    assert family.checksums(["Te"])["Te"].startswith("c21605858eba")
    assert WITH_ORBITALS.parent == DOWNLOADS.parent


def test_a_file_that_does_not_tell_its_orbitals_is_refused(tmp_path):
    text = (DOWNLOADS / "sg15" / "Mo.upf").read_text()
    (tmp_path / "Mo.upf").write_text(text.replace("# atsym", "# symbol"))
    with pytest.raises(ValueError, match="Mo.upf has no atomic orbitals"):
        Pseudopotentials(str(tmp_path)).check_orbitals("Mo")
    with pytest.raises(ValueError, match="Mo.upf has no atomic orbitals"):
        Pseudopotentials(str(tmp_path)).for_pw(["Mo"])
    Pseudopotentials("sg15").check_orbitals("Mo")


def test_half_a_file_is_told(tmp_path):
    text = (DOWNLOADS / "sg15" / "B.upf").read_text()
    (tmp_path / "B.upf").write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match="B.upf is not a whole UPF file"):
        PseudoAtom.read(tmp_path / "B.upf")
