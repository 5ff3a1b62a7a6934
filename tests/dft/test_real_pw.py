"""Real pw.x on the smallest cells."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell
from ase.units import Bohr

from heteroforge.dft import check_espresso, running
from heteroforge.dft.calculations import Calculator, cell_for_truncation, with_height
from heteroforge.dft.lattices import free_monolayer
from heteroforge.dft.protocols import Protocol, Pseudopotentials
from heteroforge.dft.registries import compare_registries, preferred
from heteroforge.dft.running import (
    CalculationFailed,
    Launcher,
    OutOfTime,
    last_geometry,
    run_pw,
)
from heteroforge.dft.verification import compute_density
from heteroforge.structures import Monolayer, build
from heteroforge.structures.dispersion import dispersion_ev
from heteroforge.structures.matching import other_registries, stack_layers

pytestmark = [
    pytest.mark.pw,
    pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x is not on PATH"),
]


def honeycomb(first: str, second: str, a: float) -> Atoms:
    cell = [[a, 0, 0], [-a / 2, a * 3**0.5 / 2, 0], [0, 0, 15]]
    atoms = Atoms([first, second], positions=[(0, 0, 0), (0, a / 3**0.5, 0)], cell=cell)
    atoms.set_array("layer", np.zeros(2, dtype=int))
    return cell_for_truncation(atoms)


@pytest.fixture
def calculator(tmp_path):
    def make(name: str) -> Calculator:
        family = Pseudopotentials("pseudodojo")
        protocol = Protocol.named("quick", family)
        return Calculator(tmp_path / name, protocol, family, Launcher())

    return make


@pytest.fixture
def cheap_calculator(calculator):
    """For what pw.x does and how it ends, where its numbers do not matter."""

    def make(name: str) -> Calculator:
        run = calculator(name)
        return replace(run, protocol=replace(run.protocol, cutoff_ry=40.0, k_spacing_per_a=1.0))

    return make


def test_this_espresso_gives_the_numbers_of_the_library(tmp_path, capsys):
    assert check_espresso.main(["--work", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "hole_mass_m0" in told and "deviates" not in told


def test_an_espresso_that_fails_says_where_its_logs_are(tmp_path, capsys):
    assert check_espresso.main(["--work", str(tmp_path), "--launcher", "false"]) == 1
    assert f"logs are in {tmp_path}" in capsys.readouterr().err


def test_a_wrong_dispersion_energy_is_no_result(cheap_calculator):
    """Versions 6.2.1 to 7.1 give barium a D3 energy several times too large."""
    run = cheap_calculator("oxide")
    # D3 takes positions alone: any density does.
    run.protocol = replace(run.protocol, cutoff_ry=20.0, density_convergence_ry_atom=1.0)
    atoms = honeycomb("Ba", "O", 4.0)
    try:
        result = run.scf(atoms)
    except CalculationFailed as error:
        assert "D3 energy" in str(error)
        assert len(error.attempts) == 1
        assert run.provenance(["Ba", "O"])["quantum_espresso"] < "7.2"
    else:
        atoms.pbc = True
        assert result.dispersion_ev == pytest.approx(dispersion_ev(atoms), rel=0.005)


def test_boron_nitride_and_graphene(calculator):
    """Gap and edges of h-BN near the published PBE values; graphene has none."""
    run = calculator("bn")
    atoms = honeycomb("B", "N", 2.51)
    found = compute_density(run, atoms)
    density, states = found.numbers, found.states
    bands = run.bands(atoms, density["vacuum_ev"])
    # PBE gap of the monolayer 4.6–4.7 eV (C2DB: 4.67), ionization energy about 5.8 eV.
    assert bands.edges.gap_ev == pytest.approx(4.65, abs=0.15)
    assert -bands.edges.vbm_ev == pytest.approx(5.8, abs=0.25)
    # Eight valence electrons lie below the gap, where the density of states vanishes.
    below = states[:, 0] < density["mesh_vbm_ev"] + 0.6
    assert np.trapezoid(states[below, 1], states[below, 0]) == pytest.approx(8.0, abs=0.1)
    assert density["vacuum_flatness_ev"] < 0.02
    assert abs(density["vacuum_step_ev"]) < 0.01
    # Empty states far out in the vacuum project on no orbital; occupied ones must.
    assert bands.layer_weights.sum(0)[..., :4] == pytest.approx(1.0, abs=1e-6)
    masses = run.masses(atoms, bands)
    assert 0.4 < masses["hole_mass_light_m0"] <= masses["hole_mass_heavy_m0"] < 1.2

    flat = calculator("graphene")
    atoms = honeycomb("C", "C", 2.46)
    density = compute_density(flat, atoms).numbers
    assert density["mesh_is_metal"]
    # Work function of graphene, PBE: 4.2–4.3 eV.
    assert -density["fermi_ev"] == pytest.approx(4.25, abs=0.15)


def test_orbitals_put_in_tell_layers_as_those_of_a_file(tmp_path):
    """SG15 has no orbitals of its own; of PseudoDojo's come the same weights of layers."""
    atoms = honeycomb("B", "N", 2.5) + honeycomb("C", "C", 2.5)
    atoms.positions[2:, 2] += 3.3
    atoms.set_array("layer", np.array([0, 0, 1, 1]))
    weights = []
    for name in ("pseudodojo", "sg15"):
        family = Pseudopotentials(name)
        protocol = replace(
            Protocol.named("quick", family),
            cutoff_ry=40.0,
            k_spacing_per_a=1.0,
            path_density_per_a=3,
        )
        run = Calculator(tmp_path / name, protocol, family, Launcher())
        run.scf(atoms)
        weights.append(run.bands(atoms, 0.0).layer_weights[..., 4:9])
    of_graphene = weights[0][1]
    assert of_graphene.min() < 0.02 and of_graphene.max() > 0.98
    # Where bands of both layers nearly cross, their shares depend on the energies.
    assert np.abs(weights[1] - weights[0]).mean() < 0.02


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_density_begins_where_the_relaxation_ended(cheap_calculator, is_damaged):
    atoms = honeycomb("B", "N", 2.51)
    atoms.positions[1, 1] += 0.05
    first = cheap_calculator("relax")
    relaxed = first.relax(atoms)
    density = first.folder / "save/heteroforge.save/charge-density.dat"
    if is_damaged:
        density.write_bytes(b"")
    run = cheap_calculator("scf")
    found = run.scf(relaxed.atoms, relaxed_in=first.folder)
    assert found.energy_ev == pytest.approx(relaxed.energy_ev, abs=1e-5)
    assert not density.parent.exists()
    log = (run.folder / "scf.out").read_text()
    is_taken_over = "The initial density is read from file" in log
    assert is_taken_over is not is_damaged
    assert ["symptom" in attempt for attempt in run.attempts] == [True] * is_damaged + [False]


def test_the_density_of_other_atoms_is_no_start(cheap_calculator):
    first = cheap_calculator("relax")
    relaxed = first.relax(honeycomb("B", "N", 2.51))
    moved = relaxed.atoms.copy()
    moved.positions[1, 1] += 0.03
    run = cheap_calculator("other")
    run.scf(moved, relaxed_in=first.folder)
    assert "read from file :" not in (run.folder / "scf.out").read_text()
    assert not (first.folder / "save").exists()
    run.scf(moved, relaxed_in=first.folder)  # of which nothing is left
    assert ["symptom" in attempt for attempt in run.attempts][-1] is False


def test_graphene_in_a_rectangular_cell_is_still_a_metal(calculator):
    """Its Dirac point, at (1/3, 0) of the cell, lies on neither mesh nor path."""
    run = calculator("rectangular")
    atoms = make_supercell(honeycomb("C", "C", 2.46), [[1, 0, 0], [1, 2, 0], [0, 0, 1]])
    density = compute_density(run, atoms).numbers
    assert not density["mesh_is_metal"]
    bands = run.bands(atoms, density["vacuum_ev"])
    assert bands.edges.is_metal
    content = bands.to_dict()
    assert len(content["energies_ev"]) == len(content["k_distance"])
    assert any(abs(abs(k[0]) - 1 / 3) < 1e-3 for k in content["folded"]["k_fractional"])
    # Γ to X of the rectangle, 4.26 Å by 2.46 Å: π over a side.
    corners = {name: x for x, name in content["labels"]}
    assert min(abs(corners["X"] - np.pi / side) for side in (2.46, 4.26)) < 1e-3


def test_graphene_lies_lowest_with_carbon_above_boron(calculator):
    """The order of the three registries on h-BN of G. Giovannetti et al., Phys. Rev. B 76, 073103
    (2007): carbon above boron lowest, then carbon above nitrogen, then carbon above both."""
    nitride = Monolayer.from_atoms(honeycomb("B", "N", 2.49), name="BN")
    graphene = Monolayer.from_atoms(honeycomb("C", "C", 2.49), name="C")
    on_top = max(
        [(s := stack_layers([nitride, graphene])), *other_registries(s)],
        key=lambda stack: stack.interfaces[0].gap_a,
    )
    coarse = replace(calculator("own").protocol, cutoff_ry=40.0)  # differences need no more

    def run(name: str) -> Calculator:
        return replace(calculator(name), protocol=coarse)

    def scan(name: str, atoms: Atoms) -> dict:
        own = run(name)
        return {"scan": own.scan_gap(atoms), "attempts": own.attempts}

    found = compare_registries(scan, on_top)
    assert [entry["is_asked"] for entry in found] == [False, False, True]
    assert 0.0 == found[0]["energy_mev_a2"] < found[1]["energy_mev_a2"] + 0.1
    lowest = preferred(on_top, found)
    assert lowest.key() == found[0]["stack_id"]
    placed = build(lowest)
    places = {
        element: placed.get_scaled_positions()[np.array(placed.symbols) == element][:, :2]
        for element in ("B", "N", "C")
    }

    def covered(element: str) -> bool:
        apart = places["C"] - places[element]
        return bool(np.abs(apart - np.round(apart)).max(axis=1).min() < 0.01)

    assert covered("B") and not covered("N")


def test_a_proposed_layer_gets_its_lattice_constant(calculator, tmp_path):
    """Boron nitride that is proposed 2 % too wide; PBE has 2.51 Å (C2DB)."""
    run = calculator("lattice")
    run = replace(run, protocol=replace(run.protocol, cutoff_ry=45.0))
    proposed = Monolayer.from_atoms(honeycomb("B", "N", 2.56))
    found = free_monolayer(run, proposed, tmp_path / "layers")
    layer = Monolayer.from_dict(found["monolayer"])
    assert layer.a == layer.b == pytest.approx(2.51, abs=0.02)
    assert layer.species == proposed.species and layer.gamma_deg == pytest.approx(120.0)
    assert np.array(layer.positions) == pytest.approx(np.array(proposed.positions), abs=1e-4)
    assert (tmp_path / "lattice" / "lattice_-2.out").is_file()
    # Another candidate with this layer takes what this one found.
    again = free_monolayer(replace(run, folder=tmp_path / "other"), proposed, tmp_path / "layers")
    assert again == found | {"attempts": []} and not (tmp_path / "other").exists()


def test_results_do_not_depend_on_the_vacuum(calculator):
    atoms = honeycomb("B", "N", 2.51)
    found = {}
    for height in (15.0, 20.0):
        run = calculator(f"h{height:.0f}")
        found[height] = compute_density(run, with_height(atoms, height)).numbers
    assert found[15.0]["energy_ev"] == pytest.approx(found[20.0]["energy_ev"], abs=0.003)
    assert found[15.0]["mesh_vbm_ev"] == pytest.approx(found[20.0]["mesh_vbm_ev"], abs=0.01)
    assert found[15.0]["mesh_cbm_ev"] == pytest.approx(found[20.0]["mesh_cbm_ev"], abs=0.01)


def test_a_density_that_does_not_converge_is_cured_and_recorded(calculator):
    run = calculator("stubborn")
    atoms = honeycomb("B", "N", 2.51)
    namelists = run.namelists(atoms, "scf")
    namelists["electrons"]["electron_maxstep"] = 2
    result, attempts = run_pw(
        atoms, namelists, (3, 3, 1), run.pseudopotentials, run.folder, Launcher()
    )
    assert result.converged
    assert [a.get("symptom") for a in attempts] == ["scf_not_converged", None]
    assert (run.folder / "pw.attempt-1.out").exists()


def test_too_few_bands_are_cured(calculator):
    run = calculator("metal")
    atoms = honeycomb("C", "C", 2.46)
    namelists = run.namelists(atoms, "scf")
    namelists["system"].update(nbnd=4, degauss=0.05)
    result, attempts = run_pw(
        atoms, namelists, (3, 3, 1), run.pseudopotentials, run.folder, Launcher()
    )
    # Which of the two pw.x stops with depends on its version.
    assert attempts[0]["symptom"] in ("too_few_bands", "fermi_energy")
    assert attempts[0]["remedy"].startswith("nbnd 4 ->")
    assert result.energies_ev.shape[-1] > 4


# Settings with which pw.x fails, and what the attempts come to: the last one ends well.
PROVOKED = {
    "more steps than there are": (
        {"control": {"nstep": 2}},
        [("steps_exhausted", "continued from the last geometry"), (None, None)],
    ),
    "a history of steps that leads nowhere": (
        {"ions": {"trust_radius_ini": 0.7, "trust_radius_min": 0.6}},
        [
            ("bfgs", "positions rattled by 0.01 Å"),
            ("bfgs", "ion_dynamics damp"),
            (None, None),
        ],
    ),
    "states to more digits than there are": (
        {"electrons": {"diago_thr_init": 1e-40}},
        [
            ("diagonalisation", "diagonalization david -> paro"),
            ("diagonalisation", "diagonalization paro -> cg"),
            (None, None),
        ],
    ),
}


@pytest.mark.parametrize("cause", PROVOKED)
def test_what_fails_is_recognised_and_cured(cheap_calculator, cause):
    changes, expected = PROVOKED[cause]
    run = cheap_calculator("provoked")
    bent = honeycomb("B", "N", 2.51)
    bent.positions[1, 2] += 0.3
    namelists = run.namelists(bent, "relax")
    for section, values in changes.items():
        namelists[section] |= values
    result, attempts = run_pw(
        bent, namelists, (2, 2, 1), run.pseudopotentials, run.folder, Launcher()
    )
    assert [(a.get("symptom"), a.get("remedy")) for a in attempts] == expected
    assert result.converged
    assert np.ptp(result.atoms.positions[:, 2]) < 0.05


def test_waves_that_lack_their_images_by_symmetry_are_cured(cheap_calculator):
    """Of a star of waves at the cutoff, some are left out where one vector is a little longer."""
    run = cheap_calculator("lone")
    atoms = honeycomb("B", "N", 2.5)
    squared_ry = 4 / 3 * 31 * (2 * np.pi / (2.5 / Bohr)) ** 2  # h² + hk + k² = 31: twelve waves
    atoms.cell[1] *= 1 + 4e-7  # symmetric to pw.x
    namelists = run.namelists(atoms, "scf")
    density_ry = squared_ry * (1 - 2e-7)
    namelists["system"].update(ecutwfc=density_ry / 4, ecutrho=density_ry)
    result, attempts = run_pw(
        atoms, namelists, (2, 2, 1), run.pseudopotentials, run.folder, Launcher()
    )
    assert [(a.get("symptom"), a.get("remedy")) for a in attempts] == [
        ("symmetry", "nosym"),
        (None, None),
    ]
    assert result.converged


def test_a_charge_that_is_wrong_is_told(cheap_calculator):
    """Fixed occupations of an odd number of electrons, which no calculation here has."""
    run = cheap_calculator("odd")
    atoms = honeycomb("B", "N", 2.51)[:1]
    namelists = run.namelists(atoms, "scf")
    kept = {k: v for k, v in namelists["system"].items() if k not in ("smearing", "degauss")}
    namelists["system"] = kept | {"occupations": "fixed", "nspin": 1}
    with pytest.raises(CalculationFailed, match="charge_wrong"):
        run_pw(
            atoms,
            namelists,
            (2, 2, 1),
            run.pseudopotentials,
            run.folder,
            Launcher(),
            maximum_attempts=1,
        )


def test_out_of_walltime_is_for_the_next_job(calculator, monkeypatch):
    run = calculator("hurried")
    atoms = honeycomb("B", "N", 2.51)
    namelists = run.namelists(atoms, "scf")
    # pw.x gets at least ten seconds; a cutoff and a mesh like these take longer.
    namelists["system"].update(ecutwfc=200.0, ecutrho=800.0)
    monkeypatch.setattr(running, "LEAST_S", 0.5)
    monkeypatch.setattr(running, "ENDS_S", -60.0)  # that it is not stopped before
    with pytest.raises(OutOfTime, match="stopped itself"):
        run_pw(
            atoms, namelists, (9, 9, 1), run.pseudopotentials, run.folder, Launcher(walltime_s=3.0)
        )
    with pytest.raises(OutOfTime, match="s are left"):
        run_pw(
            atoms, namelists, (9, 9, 1), run.pseudopotentials, run.folder, Launcher(walltime_s=0.1)
        )


# Stand between the launcher and pw.x, and spoil its first run.
SABOTAGE = {
    "killed": 'exec timeout --signal KILL 0.6 "$@"',
    "crashed": 'exec timeout --signal SEGV 0.6 "$@"',
    "unreadable_result": '"$@"; truncate --size 3000 save/heteroforge.xml',
}


@pytest.mark.parametrize("symptom", SABOTAGE)
def test_a_spoilt_run_is_run_again(calculator, tmp_path, symptom):
    script = tmp_path / "launch.sh"
    script.write_text(
        f'if [ -e {tmp_path}/marker ]; then exec "$@"; fi\n'
        f"touch {tmp_path}/marker\n{SABOTAGE[symptom]}\n"
    )
    run = calculator("spoilt")
    run.launcher = Launcher(template=f"bash {script}")
    result = run.scf(honeycomb("B", "N", 2.51))
    assert result.converged
    assert [a.get("symptom") for a in run.attempts] == [symptom, None]


def test_more_pools_than_processes_are_cured(cheap_calculator, monkeypatch):
    run = cheap_calculator("pools")
    run.launcher = Launcher(ranks=2)
    monkeypatch.setattr(running, "_pools", lambda ranks, k_points: 3)
    result = run.scf(honeycomb("B", "N", 2.51))
    assert result.converged
    assert [a.get("symptom") for a in run.attempts] == ["pools", None]


def test_an_error_without_remedy_ends_early_with_what_pw_said(calculator):
    run = calculator("wrong")
    low = with_height(honeycomb("B", "N", 2.51), 6.0)  # no room for the truncation
    with pytest.raises(CalculationFailed, match="vloc_of_g: 2D cutoff is smaller") as failure:
        run.scf(low)
    assert [a["symptom"] for a in failure.value.attempts] == ["stopped", "stopped"]


def test_a_killed_relaxation_goes_on_from_its_last_geometry(cheap_calculator):
    run = cheap_calculator("killed")
    atoms = honeycomb("B", "N", 2.51)
    bent = atoms.copy()
    bent.positions[1, 2] += 0.25
    run.relax(bent)
    log = run.folder / "relax.out"
    text = log.read_text()
    cut = text[: text.index("ATOMIC_POSITIONS", text.index("ATOMIC_POSITIONS") + 10)]
    log.write_text(cut)  # as kill -9 leaves it: one complete geometry, no end
    expected = last_geometry(cut, bent)
    again = cheap_calculator("killed")
    again.relax(bent)
    start = (again.folder / "relax.in").read_text()
    height = float(start[start.index("ATOMIC_POSITIONS") :].splitlines()[2].split()[3])
    assert height == pytest.approx(expected.positions[1, 2], abs=1e-4)
    assert abs(height - bent.positions[1, 2]) > 0.01

    other = bent.copy()  # another candidate in the same folder begins at its own structure
    other.positions[1, 2] += 0.1
    once_more = cheap_calculator("killed")
    once_more.relax(other)
    start = (once_more.folder / "relax.in").read_text()
    height = float(start[start.index("ATOMIC_POSITIONS") :].splitlines()[2].split()[3])
    assert height == pytest.approx(other.positions[1, 2], abs=1e-4)


def test_energies_of_a_series_outlive_their_job(cheap_calculator):
    """A scan that is cut short goes on at the point it had come to."""
    atoms = honeycomb("B", "N", 2.51)
    first = cheap_calculator("series")
    found = first.kept(atoms, "scf", "scan_+0.00")
    assert found["attempts"] == first.attempts and len(first.attempts) == 1
    again = replace(cheap_calculator("series"), launcher=Launcher("false"), maximum_attempts=1)
    assert again.kept(atoms, "scf", "scan_+0.00") == found
    assert again.attempts == first.attempts
    other = atoms.copy()
    other.positions[1, 2] += 0.01
    with pytest.raises(CalculationFailed):  # it would have to be computed
        again.kept(other, "scf", "scan_+0.00")
    harder = replace(again, protocol=replace(again.protocol, cutoff_ry=41.0))
    with pytest.raises(CalculationFailed):
        harder.kept(atoms, "scf", "scan_+0.00")


def test_magnetic_elements_start_with_a_moment(calculator):
    run = calculator("magnetic")
    atoms = honeycomb("Cr", "I", 4.0)
    run.maximum_attempts = 1
    run.launcher = Launcher(template="false")  # the text that pw.x reads is what counts
    with pytest.raises(CalculationFailed):
        run.scf(atoms)
    text = (run.folder / "scf.in").read_text()
    moments = [float(x.split("=")[1]) for x in text.splitlines() if "starting_magnet" in x]
    assert moments == [0.5, 0.1]
