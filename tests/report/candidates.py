"""Candidates without files, for the tests of what is said of them."""

from ase import Atoms
from ase.build import graphene

from heteroforge.report.campaign import Candidate
from heteroforge.structures import Interface, Layer, Monolayer, Stack

WINDOWS = {"gap_ev": [1.0, 3.0], "binding_energy_mev_a2": [5, None]}


def candidate(slot=0, status="verified", symbols="BN", **computed) -> Candidate:
    values = {"gap_ev": 2.0, "binding_energy_mev_a2": 20.0, "strain_energy_mev_a2": 0.5}
    values |= {"net_energy_mev_a2": 19.5, "registry_shift_a": 0.02} | computed
    target = {
        name: {"window": (low, high), "value": values[name],
               "inside": values[name] >= low and (high is None or values[name] <= high)}
        for name, (low, high) in WINDOWS.items()
    }  # fmt: skip
    return Candidate(slot, status, computed=values, target=target, atoms=Atoms(symbols))


def stacked(
    slot, net, offset=(0.0, 0.0), turned=False, order=("BN", "SiC"), **computed
) -> Candidate:
    layers = {"BN": 2.5, "SiC": 2.52}
    made = tuple(
        Layer(
            Monolayer.from_atoms(graphene(name, a=layers[name], vacuum=8.0), name=name),
            supercell=((1, 1), (-1, 0)) if turned and place else ((1, 0), (0, 1)),
        )
        for place, name in enumerate(order)
    )
    found = candidate(slot, net_energy_mev_a2=net, **computed)
    found.stack = Stack(made, (Interface(offset=offset, gap_a=3.2),), 2.51, 2.51, 120.0)
    return found
