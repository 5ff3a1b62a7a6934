"""Twisted bilayers by the shipped command: what it tells, its time and its memory.

MoS2 on MoS2 in ever larger coincidence cells, written to files and predicted from these. There is
no table of such bilayers to measure errors on; what is told of them should lie between what the
same model tells of the registries of high symmetry, as atoms of a face meet those of the other at
all places. Seconds are of the whole command, reading its models and the library included.

    python tests/benchmarks/twisted_bilayers.py
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import ase.io
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "workflow"))

from heteroforge.predict import RESOURCES, main
from heteroforge.sources import read_library
from heteroforge.structures import build
from heteroforge.structures.matching import HALF_TURN, UNTURNED, enumerate_registries, stack_layers

MATERIAL = "MoS2-2H"
# n a1 + m a2 of the lower layer, n a1 + (n - m) a2 of the upper one.
TWISTS = {"21.8°": (3, 1), "13.2°": (5, 2), "9.4°": (7, 3), "16.4°": (8, 3)}
SHOWN = ["gap_ev", "binding_energy_mev_a2", "interlayer_gap_a"]


def cell(n: int, m: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Vectors of a supercell, the second the first turned by 120°."""
    return (n, m), (-m, n - m)


def predicted(folder: Path, stacks: dict) -> pd.DataFrame:
    """What the command tells of stacks, by their names."""
    folder.mkdir()
    for name, stack in stacks.items():
        ase.io.write(folder / f"{name}.extxyz", build(stack))
    layers = ["--layers", str(RESOURCES / "library")]
    if main([str(folder), *layers, "--output", str(folder / "predictions.csv")]):
        raise SystemExit(1)
    table = pd.read_csv(folder / "predictions.csv")
    return table.set_index(table["file"].map(lambda file: Path(file).stem))


def run() -> None:
    library = read_library(
        RESOURCES / "library/monolayers.extxyz", RESOURCES / "library/monolayers.csv"
    )
    layers = [library.monolayers[MATERIAL]] * 2
    plain = {
        f"{'not turned' if turn == UNTURNED else 'turned'} {x:.2f} {y:.2f}": stack_layers(
            layers, [UNTURNED, turn], [(x, y)]
        )
        for turn in (UNTURNED, HALF_TURN)
        for x, y in enumerate_registries(*layers, turn)
    }
    twisted = {
        name: stack_layers(layers, [cell(n, m), cell(n, n - m)]) for name, (n, m) in TWISTS.items()
    }
    with tempfile.TemporaryDirectory() as folder:
        untwisted = predicted(Path(folder) / "plain", plain)
        print(untwisted[SHOWN].round(3).to_string())
        for name, stack in twisted.items():
            start = time.perf_counter()
            row = predicted(Path(folder) / name, {name: stack}).iloc[0]
            seconds = time.perf_counter() - start
            told = ", ".join(
                f"{key} {row[key]:.3f} ± {row[f'{key}_std']:.3f}"
                f" ({'between' if low <= row[key] <= high else 'outside'} {low:.3f} and {high:.3f})"
                for key in SHOWN
                for low, high in [(untwisted[key].min(), untwisted[key].max())]
            )
            print(f"{name}, {row['number_of_atoms']:.0f} atoms, {seconds:.0f} s: {told}")
            print(f"    {row['outside_training']}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{peak:.1f} GiB at most")


if __name__ == "__main__":
    run()
