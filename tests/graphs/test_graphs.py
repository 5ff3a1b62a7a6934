"""Graphs say what a stack is, whatever cell, order, place or vacuum it is written in."""

import numpy as np
import pytest
import torch
from ase.build import make_supercell

from heteroforge.graphs import GraphStore, atom_graph, available_backends, stack_graph
from heteroforge.structures import Interface, Layer, Monolayer, Stack, build


def chalcogenide(metal="Mo", top="S", bottom="Se", a=3.2) -> Monolayer:
    return Monolayer(
        species=(bottom, metal, top),
        positions=((0.0, 0.0), (1 / 3, 2 / 3), (0.0, 0.0)),
        heights=(-1.6, 0.0, 1.6),
        a=a,
        b=a,
        gamma_deg=120.0,
        name=f"{metal}{top}{bottom}",
    )


@pytest.fixture
def stack() -> Stack:
    return Stack(
        layers=(Layer(chalcogenide()), Layer(chalcogenide("W", "S", "S"), flipped=True)),
        interfaces=(Interface((1 / 3, 2 / 3), 3.1),),
        a=3.2,
        b=3.2,
        gamma_deg=120.0,
    )


def fingerprint(graph) -> np.ndarray:
    """Sorted rows (target, source element, layer step, distance, rise) per atom, averaged."""
    rows = np.column_stack(
        [
            graph.numbers[graph.target],
            graph.numbers[graph.source],
            graph.layers[graph.source] - graph.layers[graph.target],
            graph.distances.round(5),
            graph.rises.round(5),
            graph.heights[graph.target].round(5),
        ]
    )
    unique, counts = np.unique(rows, axis=0, return_counts=True)
    return np.column_stack([unique, counts / graph.number_of_atoms])


def same(first, second) -> bool:
    a, b = fingerprint(first), fingerprint(second)
    return a.shape == b.shape and np.allclose(a, b, atol=3e-5)


@pytest.fixture
def atoms(stack):
    return build(stack)


def test_order_does_not_matter(atoms):
    order = np.random.default_rng(0).permutation(len(atoms))
    assert same(atom_graph(atoms), atom_graph(atoms[order]))


def test_place_in_the_plane_does_not_matter(atoms):
    moved = atoms.copy()
    moved.positions += [1.234, -0.77, 0.0]
    wrapped = moved.copy()
    wrapped.wrap(pbc=(True, True, False))
    assert same(atom_graph(atoms), atom_graph(moved))
    assert same(atom_graph(atoms), atom_graph(wrapped))


def test_rotation_does_not_matter(atoms):
    turned = atoms.copy()
    turned.rotate(37.0, "z", rotate_cell=True)
    assert same(atom_graph(atoms), atom_graph(turned))


@pytest.mark.parametrize("matrix", [[[2, 0], [0, 1]], [[1, 1], [0, 1]], [[2, 1], [-1, 1]]])
def test_cell_choice_does_not_matter(atoms, matrix):
    full = np.eye(3, dtype=int)
    full[:2, :2] = matrix
    larger = make_supercell(atoms, full, order="atom-major")
    assert same(atom_graph(atoms), atom_graph(larger))


@pytest.mark.parametrize("vacuum", [8.0, 40.0])
def test_vacuum_does_not_matter(stack, vacuum):
    thick = build(stack, vacuum_a=vacuum)
    periodic = thick.copy()
    periodic.pbc = True
    assert same(stack_graph(stack), atom_graph(thick))
    assert same(stack_graph(stack), atom_graph(periodic))


def test_registry_gap_and_flip_do_matter(stack):
    from dataclasses import replace

    reference = stack_graph(stack)
    assert not same(reference, stack_graph(replace(stack, interfaces=(Interface((0, 0), 3.1),))))
    assert not same(
        reference, stack_graph(replace(stack, interfaces=(Interface((1 / 3, 2 / 3), 3.3),)))
    )
    flipped = (replace(stack.layers[0], flipped=True), stack.layers[1])
    assert not same(reference, stack_graph(replace(stack, layers=flipped)))


def test_edges_agree_with_brute_force(atoms):
    graph = atom_graph(atoms, cutoff_a=4.0, interface_cutoff_a=4.5)
    count = 0
    for i in range(-5, 6):
        for j in range(-5, 6):
            shift = i * atoms.cell[0] + j * atoms.cell[1]
            vectors = atoms.positions[:, None] - atoms.positions[None] + shift
            distance = np.linalg.norm(vectors, axis=-1)
            step = np.abs(atoms.arrays["layer"][:, None] - atoms.arrays["layer"][None])
            limit = np.where(step == 0, 4.0, 4.5)
            count += int(((distance < limit) & (distance > 1e-6)).sum())
    assert graph.number_of_edges == count
    assert graph.crossing.any() and not graph.crossing.all()


def test_batch_keeps_graphs_apart_and_in_order(stack):
    single = atom_graph(chalcogenide().to_atoms())
    store = GraphStore([stack_graph(stack), single, stack_graph(stack)])
    batch = store.batch([1, 0, 1])
    assert batch.number_of_graphs == 3
    assert batch.number_of_atoms == 3 + 6 + 3
    assert torch.equal(batch.graph[batch.source], batch.graph[batch.target])
    assert torch.equal(batch.numbers[:3], torch.tensor(single.numbers))
    pooled = batch.pool_layers(batch.numbers.float()[:, None], 4)
    assert pooled.shape == (3, 4, 1)
    assert pooled[0, 1:].abs().sum() == 0
    assert torch.isclose(pooled[1, 1, 0], torch.tensor((74 + 16 + 16) / 3))


@pytest.mark.skipif("dgl" not in available_backends(), reason="DGL is not installed")
def test_backends_agree_with_each_other(stack):
    store = GraphStore([stack_graph(stack), atom_graph(chalcogenide().to_atoms())])
    results = {}
    for backend in ("dgl", "torch"):
        batch = store.batch(backend=backend)
        generator = torch.Generator().manual_seed(1)
        nodes = torch.randn(batch.number_of_atoms, 8, generator=generator, requires_grad=True)
        weights = torch.randn(len(batch.source), 8, generator=generator, requires_grad=True)
        passed = batch.pass_messages(nodes, weights)
        passed.square().sum().backward()
        results[backend] = (passed, nodes.grad, weights.grad)
    for one, other in zip(results["dgl"], results["torch"], strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_wrong_backend_is_named(stack):
    with pytest.raises(ValueError, match="backend 'jax'"):
        GraphStore([stack_graph(stack)]).batch(backend="jax")
