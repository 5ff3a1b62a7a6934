"""Names, units and sentences: how quantities are written in figures and pages."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ase.formula import Formula
from scipy.stats import binomtest

__all__ = [
    "Quantity",
    "chemical_formula",
    "count_text",
    "formula_text",
    "interval_text",
    "joined",
    "number_text",
    "quantity",
    "share_text",
    "stack_name",
    "target_sentence",
    "value_text",
    "window_text",
]

NARROW_SPACE = "\u202f"
MOBILITY_UNIT = "cm²/V\u202fs"
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True)
class Quantity:
    """How a column is shown.

    Attributes:
        words: lower-case name for people, without the unit.
        unit: as printed, empty for plain numbers.
        decimals: digits after the point; None for significant digits instead.
    """

    words: str
    unit: str = ""
    decimals: int | None = None

    @property
    def label(self) -> str:
        """Axis or column label: words and unit."""
        return f"{self.words} ({self.unit})" if self.unit else self.words


_KNOWN = {
    "gap_ev": Quantity("band gap", "eV", 2),
    "vbm_ev": Quantity("valence band maximum", "eV", 2),
    "cbm_ev": Quantity("conduction band minimum", "eV", 2),
    "ionization_energy_ev": Quantity("ionization energy", "eV", 2),
    "electron_affinity_ev": Quantity("electron affinity", "eV", 2),
    "work_function_ev": Quantity("work function", "eV", 2),
    "vacuum_step_ev": Quantity("vacuum step", "eV", 3),
    "dipole_e_a": Quantity("dipole across the layers", "e Å", 3),
    "edges_off_path_ev": Quantity("band edges beyond those of the path", "eV", 2),
    "anderson_gap_ev": Quantity("gap by Anderson's rule", "eV", 2),
    "anderson_alignment": Quantity("alignment by Anderson's rule"),
    "alignment": Quantity("alignment"),
    "binding_energy_mev_a2": Quantity("binding energy", "meV/Å²", 1),
    "strain_energy_mev_a2": Quantity("strain energy", "meV/Å²", 1),
    "formation_energy_ev_atom": Quantity("formation energy", "eV/atom", 2),
    "net_energy_mev_a2": Quantity("binding less strain", "meV/Å²", 1),
    "registry": Quantity("registry that was verified"),
    "registry_gain_mev_a2": Quantity("energy below the registry asked for", "meV/Å²", 1),
    "closest_contact_ratio": Quantity("closest contact across a gap / covalent radii", "", 2),
    "interlayer_gap_a": Quantity("interlayer gap", "Å", 2),
    "electron_mass_m0": Quantity("electron mass", "m₀", 2),
    "hole_mass_m0": Quantity("hole mass", "m₀", 2),
    "electron_mobility_cm2_vs": Quantity("electron mobility (upper estimate)", MOBILITY_UNIT, None),
    "hole_mobility_cm2_vs": Quantity("hole mobility (upper estimate)", MOBILITY_UNIT, None),
    "mobility_cm2_vs": Quantity("mobility (upper estimate)", MOBILITY_UNIT, None),
    "mass_fit_residual_ev": Quantity("largest residual of the mass fits", "eV", 5),
    "electron_next_valley_ev": Quantity("next valley above the CBM", "eV", 3),
    "hole_next_valley_ev": Quantity("next valley below the VBM", "eV", 3),
    "electron_saddle_ev": Quantity("saddle between valleys above the CBM", "eV", 3),
    "hole_saddle_ev": Quantity("saddle between valleys below the VBM", "eV", 3),
    "stiffness_n_m": Quantity("in-plane stiffness", "N/m", 0),
    "area_a2": Quantity("cell area", "Å²", 1),
    "thickness_a": Quantity("thickness", "Å", 2),
    "a_a": Quantity("lattice constant a", "Å", 3),
    "b_a": Quantity("lattice constant b", "Å", 3),
    "gamma_deg": Quantity("γ", "°", 1),
    "twist_deg": Quantity("twist", "°", 1),
    "mismatch_percent": Quantity("mismatch", "%", 2),
    "number_of_atoms": Quantity("atoms", "", 0),
    "number_of_layers": Quantity("layers", "", 0),
    "ionic_steps": Quantity("ionic steps", "", 0),
    "energy_drop_ev": Quantity("energy drop on relaxation", "eV", 3),
    "probability": Quantity("probability of meeting all targets", "", 3),
    "stack_id": Quantity("stack"),
    "monolayer_id": Quantity("monolayer"),
    "is_metal": Quantity("metal"),
    "is_semiconductor": Quantity("having a gap"),
    "works": Quantity("good semiconductor"),
    "gap_is_direct": Quantity("direct gap"),
    "meets_target": Quantity("meets targets"),
    "magnetisation_bohr": Quantity("magnetisation", "μB", 2),
    "mae": Quantity("mean absolute error"),
    "rmse": Quantity("root-mean-square error"),
    "r2": Quantity("R²"),
    "gnn": Quantity("GNN"),
    "gvae": Quantity("GVAE"),
    "dft": Quantity("DFT"),
    "kl": Quantity("Kullback–Leibler term"),
    "validation_loss": Quantity("loss on pairs held out"),
    # Descriptors of monolayers whose names do not say it, or end in what is not their unit.
    "row_mean": Quantity("row in the periodic table, mean"),
    "row_spread": Quantity("row in the periodic table, spread"),
    "electronegativity_across_bonds": Quantity("electronegativity difference across bonds"),
    "electronegativity_between_faces": Quantity("electronegativity difference between faces"),
    "valence_electrons_per_area_a2": Quantity("valence electrons per area", "1/Å²"),
    "electrons_left_by_anions": Quantity("electrons that anions leave over, per atom"),
    "share_of_most_electronegative": Quantity("share of the most electronegative element"),
    "ionization_energy_mean_ev": Quantity("ionization energy of the atoms, mean", "eV"),
    "packing": Quantity("packing of the plane by atoms"),
    "bond_length_over_radii": Quantity("bond length over sum of radii"),
    "coordination_mean": Quantity("coordination number, mean"),
    "has_twofold_or_inversion": Quantity("twofold axis or inversion"),
    "has_equal_faces": Quantity("equal faces"),
    "lattice_ratio": Quantity("lattice constants b/a"),
    "hull_distance_ev_atom": Quantity("distance from the convex hull", "eV/atom"),
    "deformation_potential_cbm_ev": Quantity("deformation potential, conduction band", "eV"),
    "deformation_potential_vbm_ev": Quantity("deformation potential, valence band", "eV"),
}

# Longest first: mev_a2 must win over a2.
_SUFFIXES = {
    "_mev_a2": "meV/Å²",
    "_ev_atom": "eV/atom",
    "_cm2_vs": MOBILITY_UNIT,
    "_percent": "%",
    "_mev": "meV",
    "_deg": "°",
    "_n_m": "N/m",
    "_a2": "Å²",
    "_m0": "m₀",
    "_ev": "eV",
    "_a": "Å",
    "_s": "s",
}


def quantity(name: str) -> Quantity:
    """How the column `name` is written; unknown names are read by their unit suffix."""
    if name in _KNOWN:
        return _KNOWN[name]
    if name.endswith("_std"):
        base = quantity(name[: -len("_std")])
        return Quantity(f"± {base.words}", base.unit, base.decimals)
    for suffix, unit in _SUFFIXES.items():
        if name.endswith(suffix):
            return Quantity(name[: -len(suffix)].replace("_", " "), unit, None)
    return Quantity(name.replace("_", " "))


def number_text(value: object, decimals: int | None = None) -> str:
    """A number for people: "–" when unknown, a true minus sign, thin spaces in thousands."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    try:
        number = float(value)
    except (TypeError, ValueError):
        return str(value)
    if math.isnan(number):
        return "–"
    if math.isinf(number):
        return "∞" if number > 0 else "−∞"
    if decimals is not None:
        text = f"{number:,.{decimals}f}"
    elif number == int(number) and abs(number) < 1e15:
        text = f"{int(number):,}"
    elif abs(number) >= 1e6 or abs(number) < 1e-3:
        text = f"{number:.2e}"
    elif abs(number) >= 100:
        text = f"{number:,.0f}"
    else:
        text = f"{number:.3g}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−").replace(",", NARROW_SPACE)


def formula_text(formula: str) -> str:
    """Numbers after element symbols as subscripts: MoS2/WSe2 → MoS₂/WSe₂."""
    return re.sub(r"(?<=[A-Za-z)])\d+", lambda match: match[0].translate(_SUBSCRIPTS), str(formula))


def chemical_formula(text: str) -> str:
    """Elements of each layer's formula in the order of IUPAC: AlN/CSi → AlN/SiC.

    What is not a formula is returned as it is.
    """
    # Imported here: it takes a second to load.
    from pymatgen.core.periodic_table import Element

    def ordered(formula: str) -> str:
        parts = re.findall(r"([A-Z][a-z]?)(\d*)", formula)
        if "".join(map("".join, parts)) != formula:
            return formula
        try:
            return "".join(map("".join, sorted(parts, key=lambda p: Element(p[0]).iupac_ordering)))
        except ValueError:
            return formula

    return "/".join(map(ordered, str(text).split("/")))


def count_text(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun: "1 stack", "2 stacks"."""
    return f"{number_text(int(number))} {one if number == 1 else many or one + 's'}"


def share_text(part: float, whole: float) -> str:
    """A share in percent, "–" of nothing; nearly all is not written as all."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    decimals = 1 if round(percent) in (0, 100) and percent not in (0, 100) else 0
    return f"{number_text(percent, decimals)}{NARROW_SPACE}%"


def interval_text(part: int, whole: int) -> str:
    """95 % confidence interval of a share (C. Clopper, E. Pearson, Biometrika 26, 404 (1934))."""
    low, high = binomtest(part, whole).proportion_ci(0.95, method="exact")
    return f"{100 * low:.0f} to {100 * high:.0f}{NARROW_SPACE}%"


def joined(parts: Sequence[str]) -> str:
    """Items as in a sentence: "a, b and c"."""
    parts = list(parts)
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else "".join(parts)


def stack_name(specification: str | Mapping) -> str:
    """Names of the layers, bottom to top: "SiC-honeycomb / AlN-honeycomb".

    Formulas alone do not tell a polymorph from another.

    Raises:
        KeyError, TypeError, ValueError: not the specification of a stack.
    """
    if isinstance(specification, str):
        specification = json.loads(specification)
    layers = [layer["monolayer"] for layer in specification["layers"]]
    return " / ".join(
        x if isinstance(x, str) else x["name"] or str(Formula.from_list(x["species"]).reduce()[0])
        for x in layers
    )


def value_text(name: str, value: object, *, unit: bool = True) -> str:
    """`value` of the column `name` with its unit: "1.32 eV"."""
    shown = quantity(name)
    text = number_text(value, shown.decimals)
    if shown.unit == "°":
        text = text.removesuffix(".0")  # angles of a lattice are whole numbers as a rule
    if not unit or not shown.unit or text == "–":
        return text
    return text + ("" if shown.unit in "°%" else NARROW_SPACE) + shown.unit


def window_text(name: str, window: str | Sequence[float | None]) -> str:
    """A target in words: "between 1 and 3 eV", "at least 5 meV/Å²", "II"."""
    if isinstance(window, str):
        return window
    low, high = window
    unit = quantity(name).unit
    tail = f"{NARROW_SPACE}{unit}" if unit else ""
    if low is None and high is None:
        return "any value"
    if high is None:
        return f"at least {number_text(low)}{tail}"
    if low is None:
        return f"at most {number_text(high)}{tail}"
    return f"between {number_text(low)} and {number_text(high)}{tail}"


def target_sentence(targets: Mapping[str, object]) -> str:
    """All targets in one phrase: "band gap between 1 and 3 eV and binding energy …"."""
    parts = [f"{quantity(name).words} {window_text(name, w)}" for name, w in targets.items()]
    return joined(parts) or "no targets were set"
