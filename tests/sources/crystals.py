"""Well-known bulk crystals, from their published cells and sites."""

from pymatgen.core import Lattice, Structure


def hexagonal(a, c, species, places):
    return Structure(Lattice.hexagonal(a, c), species, places)


def _monochalcogenide(metal, chalcogen, a, c, bond, chalcogen_height, shifts):
    """Layers X–M–M–X, metals `bond` Å apart, the layers shifted in the plane by `shifts`."""
    species, places = [], []
    for number, (x, y) in enumerate(shifts):
        middle = (number + 0.5) / len(shifts)
        for symbol, dx, height in (
            (metal, 0, bond / 2),
            (metal, 0, -bond / 2),
            (chalcogen, 1, chalcogen_height),
            (chalcogen, 1, -chalcogen_height),
        ):
            species.append(symbol)
            places.append([x + dx / 3, y + 2 * dx / 3, middle + height / c])
    return hexagonal(a, c, species, places)


GRAPHITE = hexagonal(
    2.46,
    6.71,
    ["C"] * 4,
    [[0, 0, 0.25], [1 / 3, 2 / 3, 0.25], [0, 0, 0.75], [2 / 3, 1 / 3, 0.75]],
)
BORON_NITRIDE = hexagonal(
    2.50,
    6.66,
    ["B", "N", "N", "B"],
    [[1 / 3, 2 / 3, 0.25], [2 / 3, 1 / 3, 0.25], [1 / 3, 2 / 3, 0.75], [2 / 3, 1 / 3, 0.75]],
)
MOLYBDENITE = hexagonal(
    3.16,
    12.30,
    ["Mo", "Mo", "S", "S", "S", "S"],
    [
        [1 / 3, 2 / 3, 0.25],
        [2 / 3, 1 / 3, 0.75],
        [1 / 3, 2 / 3, 0.621],
        [2 / 3, 1 / 3, 0.121],
        [2 / 3, 1 / 3, 0.379],
        [1 / 3, 2 / 3, 0.879],
    ],
)
PHOSPHORUS = Structure.from_spacegroup(
    "Cmce", Lattice.orthorhombic(3.3136, 10.478, 4.3763), ["P"], [[0, 0.10168, 0.08056]]
)
INDIUM_SELENIDE = _monochalcogenide(  # gamma: three layers, each shifted by a third
    "In", "Se", 4.002, 24.946, 2.77, 2.68, [(0, 0), (1 / 3, 2 / 3), (2 / 3, 1 / 3)]
)
GALLIUM_SELENIDE = _monochalcogenide(  # epsilon
    "Ga", "Se", 3.755, 15.94, 2.44, 2.40, [(0, 0), (1 / 3, 2 / 3)]
)
BISMUTH_TELLURIDE = Structure.from_spacegroup(
    "R-3m", Lattice.hexagonal(4.386, 30.497), ["Bi", "Te", "Te"],
    [[0, 0, 0.4001], [0, 0, 0], [0, 0, 0.2095]],
)  # fmt: skip
MOLYBDITE = Structure.from_spacegroup(
    "Pnma", Lattice.orthorhombic(13.855, 3.6964, 3.9628), ["Mo", "O", "O", "O"],
    [[0.1016, 0.25, 0.0867], [0.4351, 0.25, 0.4994], [0.0866, 0.25, 0.5212],
     [0.2214, 0.25, 0.0373]],
)  # fmt: skip
CHROMIUM_IODIDE = Structure.from_spacegroup(
    "R-3", Lattice.hexagonal(6.867, 19.807), ["Cr", "I"], [[0, 0, 1 / 3], [1 / 3, 0, 0.0787]]
)
TUNGSTEN_TELLURIDE = Structure.from_spacegroup(
    "Pmn2_1", Lattice.orthorhombic(3.477, 6.249, 14.018), ["W", "W", "Te", "Te", "Te", "Te"],
    [[0, 0.60062, 0.5], [0, 0.03980, 0.01522], [0, 0.85761, 0.65525], [0, 0.64631, 0.11112],
     [0, 0.29845, 0.85983], [0, 0.20722, 0.40387]],
)  # fmt: skip
TIN_SULFIDE = Structure.from_spacegroup(
    "Pnma", Lattice.orthorhombic(11.180, 3.982, 4.329), ["Sn", "S"],
    [[0.1194, 0.25, 0.1198], [0.8508, 0.25, 0.4793]],
)  # fmt: skip

SILICON = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
ROCK_SALT = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]
)
SELENIUM = Structure.from_spacegroup(
    "P3_121", Lattice.hexagonal(4.366, 4.954), ["Se"], [[0.2254, 0, 1 / 3]]
)
DRY_ICE = Structure.from_spacegroup(
    "Pa-3", Lattice.cubic(5.624), ["C", "O"], [[0, 0, 0], [0.1185, 0.1185, 0.1185]]
)
LITHIUM_COBALT_OXIDE = Structure.from_spacegroup(
    "R-3m", Lattice.hexagonal(2.816, 14.054), ["Co", "Li", "O"],
    [[0, 0, 0], [0, 0, 0.5], [0, 0, 0.2605]],
)  # fmt: skip

LAYERED = {
    "mp-2815": MOLYBDENITE,
    "mp-48": GRAPHITE,
    "mp-984": BORON_NITRIDE,
    "mp-157": PHOSPHORUS,
    "mp-20485": INDIUM_SELENIDE,
    "mp-1943": GALLIUM_SELENIDE,
    "mp-34202": BISMUTH_TELLURIDE,
    "mp-20589": MOLYBDITE,
    "mp-1213805": CHROMIUM_IODIDE,
    "mp-22693": TUNGSTEN_TELLURIDE,
    "mp-2231": TIN_SULFIDE,
}
NOT_LAYERED = {
    "mp-149": SILICON,
    "mp-22862": ROCK_SALT,
    "mp-14": SELENIUM,
    "mp-20066": DRY_ICE,
    "mp-22526": LITHIUM_COBALT_OXIDE,
}
