from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from ase.build import make_supercell

from heteroforge.dft import lattices, verification
from heteroforge.dft.calculations import Calculator, cell_for_truncation, with_height
from heteroforge.dft.protocols import Protocol, Pseudopotentials, k_mesh, unfolded_mesh
from heteroforge.dft.prototypes import starting_structure
from heteroforge.dft.running import Launcher
from heteroforge.dft.verification import (
    LayerEnergies,
    layer_fingerprint,
    relax_layer,
    start_structure,
)
from heteroforge.structures import Interface, Layer, Monolayer, Stack, build
from heteroforge.structures.matching import stack_layers


class _Pseudopotentials:
    def checksums(self, elements):
        return dict.fromkeys(set(elements), "0")


@dataclass
class _Result:
    atoms: object
    energy_ev: float
    energies_ev: np.ndarray
    electrons: float = 2.0
    magnetisation: float = 0.0
    fermi_ev: float = -4.1


@dataclass
class _Calculator:
    """Energy per atom −1 eV, edges and vacuum levels of no importance."""

    computed: list
    protocol: Protocol = field(
        default_factory=lambda: Protocol.named("quick", Pseudopotentials("pseudodojo"))
    )
    pseudopotentials: object = field(default_factory=_Pseudopotentials)
    attempts: list = field(default_factory=list)
    meshes: list = field(default_factory=list)
    bottom_ev: float = -1.5  # of the conduction band between points of the mesh
    with_spin: bool = False
    version: str = "6.7MaX"

    def provenance(self, elements):
        return {"quantum_espresso": self.version}

    def is_spin_polarised(self, atoms):
        return self.with_spin or "Y" in atoms.get_chemical_symbols()

    def mesh(self, atoms):
        return k_mesh(atoms.cell.array[:2, :2], self.protocol.k_spacing_per_a)

    def folded_points(self, atoms, known):
        return np.zeros((0, 3))

    def own_paths(self, atoms):
        return [np.zeros((3, 3))]

    def energies_at(self, atoms, k_fractional, name):
        # As a remedy that adds a band leaves it; the conduction band is lowest half-way.
        return np.array([[[-6.5, -1.0, 9.0], [-6.5, self.bottom_ev, 9.0], [-6.5, -1.0, 9.0]]])

    def relax(self, atoms, mesh=None):
        self.computed.append(atoms)
        self.meshes.append(mesh or self.mesh(atoms))
        self.attempts.append({"step": "relax", "seconds": 1.0})
        return _Result(atoms, -float(len(atoms)), np.array([[[-6.0, -2.0]]]))

    def vacuum(self, atoms):
        return {"vacuum_ev": 0.0, "vacuum_step_ev": 0.0}, None

    def clean(self):
        pass


def _layer(elements=("Mo", "S"), a=3.18):
    return Monolayer.from_atoms(starting_structure("2H", list(elements), a))


def _atoms(monolayer, turned_deg=0.0, shift=(0.0, 0.0), flipped=False):
    atoms = cell_for_truncation(monolayer.to_atoms())
    atoms.rotate(turned_deg, "z", rotate_cell=True)
    atoms.positions[:, :2] += shift
    atoms.wrap()
    if flipped:
        atoms.positions[:, 2] = atoms.cell.array[2, 2] - atoms.positions[:, 2]
    return atoms


def test_a_cell_with_another_mesh_is_another_calculation():
    run = _Calculator([])
    layer = _layer().to_atoms()
    same_lattice = [
        cell_for_truncation(make_supercell(layer, [*(row + [0] for row in rows), [0, 0, 1]]))
        for rows in ([[2, 0], [0, 2]], [[1, 0], [0, 4]])
    ]
    assert len({run.mesh(atoms) for atoms in same_lattice}) == 2
    assert len({layer_fingerprint(atoms, run) for atoms in same_lattice}) == 2


@pytest.mark.parametrize(
    ("rows", "stretch", "missed"),
    [
        ([[1, 0], [0, 1]], 1.0, [(0.5, 0.0), (0.0, 0.5), (0.5, 0.5)]),  # M, on a mesh of 9
        ([[1, 0], [1, 2]], 1.0, [(1 / 3, 0.0), (0.5, 0.5)]),  # K, and one of the M, rectangular
        ([[1, 0], [1, 2]], 1.01, [(1 / 3, 0.0), (0.5, 0.5)]),
        ([[-1, -4], [3, 1]], 1.0, [(1 / 3, 1 / 3), (0.5, 0.5), (0.0, 0.5)]),
    ],
)
def test_points_that_a_larger_cell_folds_off_the_mesh(tmp_path, rows, stretch, missed):
    protocol = Protocol.named("quick", Pseudopotentials("pseudodojo"))
    run = Calculator(tmp_path, protocol, Pseudopotentials("pseudodojo"), Launcher(ranks=1))
    graphene = Monolayer(("C", "C"), ((0.0, 0.0), (1 / 3, 2 / 3)), (0.0, 0.0), 2.465, 2.465, 120.0)
    atoms = make_supercell(graphene.to_atoms(), [*(row + [0] for row in rows), [0, 0, 1]])
    cell = atoms.cell.array.copy()
    cell[:, 0] *= stretch
    atoms.set_cell(cell, scale_atoms=True)

    def folded(points):
        # Of k and −k, and of points a reciprocal vector apart, one.
        return {
            min(tuple((np.round(s * np.array(k), 4) % 1.0).tolist()) for s in (1, -1))
            for k in points
        }

    n, m = run.mesh(atoms)[:2]
    mesh = [(i / n, j / m, 0.0) for i in range(n) for j in range(m)]
    assert folded(k[:2] for k in run.folded_points(atoms, mesh)) == folded(missed)
    # The path may pass beside a point that the mesh holds: of the bands it is no less one.
    assert len(run.folded_points(atoms)) > len(missed)


@pytest.mark.parametrize("rows", [[[1, 0], [0, 1]], [[1, 0], [1, 2]], [[-1, -4], [3, 1]]])
def test_the_path_of_a_layer_is_that_of_its_own_cell_in_any_other(tmp_path, rows):
    protocol = Protocol.named("quick", Pseudopotentials("pseudodojo"))
    run = Calculator(tmp_path, protocol, Pseudopotentials("pseudodojo"), Launcher(ranks=1))
    layer = _layer()
    atoms = make_supercell(layer.to_atoms(), [*(row + [0] for row in rows), [0, 0, 1]])
    found = run.own_paths(atoms)[0] @ atoms.cell.reciprocal().array
    side = 1 / (np.sqrt(3) / 2 * layer.a)  # of the reciprocal cell, without 2π
    length = np.linalg.norm(np.diff(found, axis=0), axis=1).sum()
    assert length == pytest.approx(side * (1 / 2 + 1 / np.sqrt(12) + 1 / np.sqrt(3)), rel=1e-3)
    assert np.linalg.norm(found, axis=1).max() == pytest.approx(side / np.sqrt(3), rel=1e-3)


@pytest.mark.parametrize(
    ("bottom_ev", "edges"),
    [(-2.5, (-6.0, -2.5)), (-6.2, (-4.1, -4.1))],  # an edge off the mesh; bands that overlap
)
def test_edges_of_a_layer_alone_are_those_of_its_path_and_of_a_metal_the_fermi_energy(
    bottom_ev, edges
):
    found = LayerEnergies(lambda name: _Calculator([], bottom_ev=bottom_ev), None).of(
        _atoms(_layer()), "own"
    )
    assert (found["vbm_ev"], found["cbm_ev"]) == edges
    assert found["is_metal"] == (edges[0] == edges[1])
    on_path = None if found["is_metal"] else 0.5
    assert (found["vbm_on_path"], found["cbm_on_path"]) == (None, on_path)


def test_a_valley_of_a_layer_is_looked_at_in_a_larger_cell(tmp_path):
    """Between Γ and M of a layer, which a √7 × √7 cell folds to no point of symmetry."""
    protocol = Protocol.named("quick", Pseudopotentials("pseudodojo"))
    run = Calculator(tmp_path, protocol, Pseudopotentials("pseudodojo"), Launcher(ranks=1))
    layer = _layer()
    atoms = make_supercell(layer.to_atoms(), [[3, 1, 0], [-1, 2, 0], [0, 0, 1]])
    (path,) = run.own_paths(atoms)
    valley = 5  # of the 14 points from Γ to M
    alone = {"vbm_on_path": None, "cbm_on_path": valley / (len(path) - 1)}
    (found,) = run.edge_points(atoms, [alone])
    assert found == pytest.approx(path[valley]) and np.linalg.norm(found) > 0.1
    more = run.folded_points(atoms, [], run.edge_points(atoms, [alone]))
    assert len(more) == len(run.folded_points(atoms)) + 1
    # In its own cell the path of the stack has it.
    small = cell_for_truncation(layer.to_atoms())
    of_stack = small.cell.bandpath(pbc=(True, True, False), density=protocol.path_density_per_a)
    (valley,) = run.edge_points(small, [alone])
    on_path = of_stack.kpts
    assert len(run.folded_points(small, on_path, [valley])) == len(
        run.folded_points(small, on_path)
    )
    assert len(run.folded_points(small, [], [valley])) > len(run.folded_points(small))


def test_a_stack_is_polarised_where_a_layer_of_it_is(tmp_path):
    """YCl2 has an odd number of electrons: so has no cell of two of them, and no bilayer."""
    pseudopotentials = Pseudopotentials("pseudodojo")
    protocol = Protocol.named("quick", pseudopotentials)
    run = Calculator(tmp_path, protocol, pseudopotentials, Launcher(ranks=1))
    odd = Monolayer.from_atoms(starting_structure("1T", ["Y", "Cl"], 3.7))
    even = Monolayer.from_atoms(starting_structure("1T", ["Zr", "S"], 3.7))
    assert run.is_spin_polarised(odd.to_atoms())
    assert run.is_spin_polarised(odd.to_atoms().repeat((2, 1, 1)))
    assert run.is_spin_polarised(build(stack_layers([odd, odd])))
    assert not run.is_spin_polarised(build(stack_layers([even, even])))
    # And a layer alone where its neighbour is, by which it may find a moment in the stack.
    stack = stack_layers([even, odd])
    runs = []

    def calculator(name):
        return _Calculator(runs, protocol)

    seen = []
    original = LayerEnergies.of

    def of(self, atoms, name, *rest, **more):
        seen.append(self.calculator(name).with_spin)
        return original(self, atoms, name, *rest, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LayerEnergies, "of", of)
        relax_layer(calculator, build(stack), 0, stack)
    assert seen == [True, True]
    alone = layer_fingerprint(_atoms(even), _Calculator([]))
    assert layer_fingerprint(_atoms(even), _Calculator([], with_spin=True)) != alone


def test_a_layer_is_known_however_it_lies():
    run = _Calculator([])
    janus = _layer(("Mo", "S", "Se"))
    known = layer_fingerprint(_atoms(janus), run)
    assert layer_fingerprint(_atoms(janus, 73.0, (0.31, 1.7)), run) == known
    assert layer_fingerprint(_atoms(janus)[[2, 0, 1]], run) == known
    # Upside down the step of the vacuum level changes sign.
    assert layer_fingerprint(_atoms(janus, flipped=True), run) != known
    plain = _layer()
    assert layer_fingerprint(_atoms(plain), run) == layer_fingerprint(
        _atoms(plain, flipped=True), run
    )


def test_another_layer_strain_cell_or_protocol_is_not_taken_for_it():
    run = _Calculator([])
    known = layer_fingerprint(_atoms(_layer()), run)
    others = [
        layer_fingerprint(_atoms(_layer(a=3.19)), run),
        layer_fingerprint(_atoms(_layer(("W", "S"))), run),
        layer_fingerprint(_atoms(_layer()).repeat((2, 1, 1)), run),
        layer_fingerprint(with_height(_atoms(_layer()), 30.0), run),
        layer_fingerprint(
            _atoms(_layer()),
            _Calculator([], Protocol.named("standard", Pseudopotentials("pseudodojo"))),
        ),
    ]
    assert known not in others and len(set(others)) == len(others)


def _bilayer(bottom, top, a):
    return Stack((Layer(bottom), Layer(top)), (Interface((1 / 3, 2 / 3), 3.0),), a, a, 120.0)


def test_layers_of_several_stacks_are_computed_once(tmp_path):
    computed = []

    def calculator(name):
        return _Calculator(computed)

    sulphide, selenide = _layer(), _layer(("Mo", "Se"), 3.32)
    pair = _bilayer(sulphide, sulphide, 3.18)
    layers = [relax_layer(calculator, start_structure(pair), i, pair, tmp_path) for i in (0, 1)]
    # An unstrained layer in the stack's cell is the free one, and both layers are the same.
    assert len(computed) == 1
    assert [la["reused"] for la in layers] == [1, 2]
    assert layers[0]["energy_free_ev"] == layers[0]["energy_in_stack_cell_ev"] == -3.0
    mixed = _bilayer(sulphide, selenide, 3.25)
    for i in (0, 1):
        relax_layer(calculator, start_structure(mixed), i, mixed, tmp_path)
    assert len(computed) == 1 + 4 - (
        start_structure(mixed).cell[2, 2] == start_structure(pair).cell[2, 2]
    )


def test_a_damaged_shared_energy_is_computed_again(tmp_path):
    computed = []
    atoms = _atoms(_layer())
    for content in (None, "", '{"energy_ev": '):
        for file in tmp_path.glob("*.json"):
            file.write_text(content)
        found = LayerEnergies(lambda name: _Calculator(computed), tmp_path).of(atoms, "free")
        assert found["energy_ev"] == -3.0
    assert len(computed) == 3


def test_energies_of_two_versions_of_pw_are_not_subtracted(tmp_path):
    computed = []
    stack = _bilayer(_layer(), _layer(), 3.18)

    def alone(at_hand: str, of_stack: str | None) -> dict:
        def calculator(name):
            return _Calculator(computed, version=at_hand)

        return relax_layer(calculator, start_structure(stack), 0, stack, tmp_path, of_stack)

    assert alone("6.7MaX", "6.7MaX")["espresso_versions"] == ["6.7MaX"]
    before = len(computed)
    assert alone("7.5", "6.7MaX")["reused"] == 2 and len(computed) == before
    found = alone("7.5", "7.5")
    assert len(computed) > before and found["espresso_versions"] == ["7.5"]


def test_a_layer_that_the_stack_reshaped_keeps_its_shape(tmp_path):
    computed = []
    stack = _bilayer(_layer(), _layer(), 3.18)
    atoms = start_structure(stack)
    atoms.positions[0, 2] += 0.4
    relax_layer(lambda name: _Calculator(computed), atoms, 0, stack, tmp_path)
    start = computed[0].positions[:, 2]
    assert np.ptp(start) == pytest.approx(np.ptp(atoms.positions[atoms.arrays["layer"] == 0, 2]))


def _points(cell, mesh):
    """Γ-centred k-points (n, 2) in 1/Å."""
    steps = np.stack(np.meshgrid(*[np.arange(n) / n for n in mesh[:2]], indexing="ij"), -1)
    return steps.reshape(-1, 2) @ (2 * np.pi * np.linalg.inv(cell).T)


@pytest.mark.parametrize(
    ("supercell", "mesh", "expected"),
    [
        (((1, 0), (0, 1)), (9, 9, 1), (9, 9, 1)),
        (((-1, 0), (0, -1)), (9, 6, 1), (9, 6, 1)),
        (((1, 1), (-1, 0)), (9, 9, 1), (9, 9, 1)),  # a hexagonal cell turned by 60°
        (((2, 0), (0, 3)), (3, 3, 1), (6, 9, 1)),
        (((1, 0), (1, 2)), (4, 8, 1), (4, 16, 1)),
        (((1, 0), (1, 2)), (8, 4, 1), None),
        (((1, -1), (1, 2)), (3, 3, 1), None),
    ],
)
def test_meshes_of_a_cell_and_of_a_larger_one_are_the_same_points(supercell, mesh, expected):
    assert unfolded_mesh(supercell, mesh) == expected
    if expected is None:
        return
    cell = _layer().cell
    larger = _points(np.array(supercell) @ cell, mesh)
    own = _points(cell, expected)
    # All points of the primitive mesh, as the larger cell folds them, are points of its mesh.
    to_mesh = (np.array(supercell) @ cell).T / (2 * np.pi) * np.array(mesh[:2])
    steps = own @ to_mesh
    assert np.abs(steps - np.round(steps)).max() < 1e-9
    # And there are as many of them as the larger cell unfolds to.
    assert len(own) == len(larger) * round(abs(np.linalg.det(supercell)))


def test_strain_energy_compares_equal_meshes(tmp_path):
    """A stretch that takes the protocol's mesh over a step must not come with another mesh."""
    runs = {}

    def calculator(name):
        return runs.setdefault(name, _Calculator([]))

    layer = _layer(a=4.5)
    own = _Calculator([]).mesh(layer.to_atoms())
    widths = np.arange(4.5, 6.0, 0.05)
    a = next(a for a in widths if _Calculator([]).mesh(_layer(a=a).to_atoms()) != own)
    stack = _bilayer(layer, layer, float(a))
    relax_layer(calculator, start_structure(stack), 0, stack)
    assert runs["free"].meshes == runs["in_stack"].meshes != [own]


def test_strain_energy_compares_equal_meshes_where_no_primitive_mesh_has_them(tmp_path):
    """√3 × √3 cells: the free layer is computed in the stack's supercell, on its own lattice."""
    runs = {}

    def calculator(name):
        return runs.setdefault(name, _Calculator([]))

    layer, turned = _layer(), ((1, -1), (1, 2))
    stack = stack_layers([layer, layer], supercells=[turned, turned])
    stack = replace(stack, a=1.02 * stack.a, b=1.02 * stack.b)
    found = relax_layer(calculator, start_structure(stack), 0, stack)
    (free,), (in_stack,) = runs["free"].computed, runs["in_stack"].computed
    assert len(free) == len(in_stack) == 9
    assert free.cell.lengths()[0] == pytest.approx(3**0.5 * 3.18, abs=1e-6)
    assert in_stack.cell.lengths()[0] == pytest.approx(1.02 * 3**0.5 * 3.18, abs=1e-6)
    assert runs["free"].meshes == runs["in_stack"].meshes
    assert found["energy_free_ev"] == -9.0


def test_edges_of_layers_are_told_apart_one_by_one():
    """Of a layer whose conduction band lies beyond the bands computed the VBM is known."""
    bands = {
        "energies_ev": [[-5.05, -5.0, -3.5]], "vbm_ev": -5.0, "cbm_ev": -3.5,
        "layer_weights": [[[0.1, 0.9, 0.9]], [[0.9, 0.1, 0.1]]],
    }  # fmt: skip
    tops, bottoms = zip(*verification.layer_edges(bands), strict=True)
    assert tops == (-5.0, -5.05) and bottoms == (-3.5, None)
    assert verification._nearest_apart(tops) == pytest.approx(0.05)
    assert verification._nearest_apart(bottoms) is None


@pytest.mark.parametrize(
    ("supercell", "direct"), [(((1, 0), (0, 1)), True), (((2, 0), (0, 2)), None)]
)
def test_a_gap_at_one_point_of_a_larger_cell_may_be_indirect(supercell, direct):
    stack = stack_layers([_layer(), _layer()], [supercell, ((1, 0), (0, 1))])
    assert verification._is_direct(stack, {"gap_is_direct": True}, False) is direct
    assert verification._is_direct(stack, {"gap_is_direct": False}, False) is False


def test_a_layer_that_lies_turned_gets_no_lattice_of_another(tmp_path, monkeypatch):
    """Energies do not tell a layer from its mirror image, but its place in a stack does."""
    fitted = []

    def fit(run, atoms):
        fitted.append(atoms)
        return atoms, []

    monkeypatch.setattr(lattices, "fit_lattice", fit)
    here = _layer()
    # Sulphur in the other half of the hexagon.
    there = replace(here, positions=tuple((1 - x, 1 - y) for x, y in here.positions))
    for proposed in (here, there, here):
        found = lattices.free_monolayer(_Calculator([]), proposed, tmp_path)
        layer = Monolayer.from_dict(found["monolayer"])
        shifts = np.subtract(layer.positions, proposed.positions)
        shifts -= shifts[0]
        assert np.abs(shifts - np.round(shifts)).max() < 1e-6
    assert len(fitted) == 2
