"""Interlayer gaps of hard spheres against DFT gaps of 571 heterobilayers (HetML).

Run from the project's folder:

    nice -n 19 python tests/benchmarks/contact_gap.py --data ../shared/data
"""

import argparse

import numpy as np

from heteroforge.labels.published import read_hetml_stacks
from heteroforge.structures.matching import van_der_waals_gap_a


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="folder with hetml/")
    entries = [
        entry
        for entry in read_hetml_stacks(parser.parse_args().data)
        if "interlayer_gap_a" in entry.values
    ]
    gap = np.array([entry.values["interlayer_gap_a"] for entry in entries])
    for name, values in (
        ("contact_gap_a", [entry.stack.interfaces[0].gap_a for entry in entries]),
        (
            "van_der_waals_gap_a",
            [van_der_waals_gap_a(*(la.monolayer for la in e.stack.layers)) for e in entries],
        ),
        ("median", np.full(len(gap), np.median(gap))),
    ):
        error = np.array(values) - gap
        print(f"{name}: MAE {np.abs(error).mean():.3f} Å, bias {error.mean():+.3f} Å, n {len(gap)}")


if __name__ == "__main__":
    main()
