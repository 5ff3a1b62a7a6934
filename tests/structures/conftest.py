"""Real monolayers that the structure tests are made of."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import graphene as ase_graphene
from ase.build import mx2

from heteroforge.structures import Monolayer


def _layer(atoms: Atoms, name: str) -> Monolayer:
    return Monolayer.from_atoms(atoms, name=name).standardised()[0]


@pytest.fixture(scope="session")
def layers() -> dict[str, Monolayer]:
    """Layers of every kind of lattice and of faces, by name."""
    janus = mx2("MoS2", a=3.25)
    janus.symbols[2] = "Se"
    boron_nitride = ase_graphene(a=2.51)
    boron_nitride.symbols[:] = ["B", "N"]
    phosphorene = Atoms(
        "P4",
        scaled_positions=[
            [0.0, 0.3393, 0.605],
            [0.5, 0.6607, 0.605],
            [0.0, 0.1607, 0.5],
            [0.5, 0.8393, 0.5],
        ],
        cell=[3.30, 4.62, 20.0],
        pbc=True,
    )
    iron_selenide = Atoms(
        "Fe2Se2",
        scaled_positions=[[0, 0, 0.5], [0.5, 0.5, 0.5], [0, 0.5, 0.573], [0.5, 0, 0.427]],
        cell=[3.69, 3.69, 20.0],
        pbc=True,
    )
    return {
        "graphene": _layer(ase_graphene(a=2.46), "graphene"),
        "BN": _layer(boron_nitride, "BN"),
        "MoS2": _layer(mx2("MoS2", a=3.18, thickness=3.13), "MoS2"),
        "WS2": _layer(mx2("WS2", a=3.19, thickness=3.14), "WS2"),
        "WSe2": _layer(mx2("WSe2", a=3.32, thickness=3.36), "WSe2"),
        "SnS2": _layer(mx2("SnS2", kind="1T", a=3.68, thickness=2.95), "SnS2"),
        "MoSSe": _layer(janus, "MoSSe"),
        "P": _layer(phosphorene, "P"),
        "FeSe": _layer(iron_selenide, "FeSe"),
    }


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)
