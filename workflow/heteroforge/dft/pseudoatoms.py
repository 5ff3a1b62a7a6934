"""Free atoms of pseudopotentials: whether a file is sound, and atomic orbitals where it has none.

projwfc.x tells the layer of a state by the atomic orbitals that a file brings along. SG15's bring
none, so they are solved for here, in the configuration that the file was made in. A file that
brings its own is sound when its potential gives the levels that it names.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
from ase.units import Rydberg
from scipy.linalg import eigh
from scipy.optimize import brentq
from scipy.special import spherical_jn

__all__ = [
    "Orbital",
    "PseudoAtom",
    "check_soundness",
    "reference_configuration",
    "with_orbitals",
]

SAME_LEVEL_EV = 0.1  # sound files are within 0.004 eV (tests/benchmarks/free_atoms.py)
_RADIUS_A0 = 22.0  # of the sphere that holds the atom: wide enough for the s levels of alkalis
_SPACING_A0 = 0.01
_CUTOFF_RY = 160.0  # of the waves that orbitals are made of
_MIXING = 0.3
_MOST_ITERATIONS = 200
_FARTHEST_A0 = 10.0  # to which pw.x integrates orbitals
_LETTERS = "SPDFG"
# Of the input of ONCVPSP: numbers of core and valence levels, then n, l and occupation of each.
_REFERENCE = re.compile(
    r"#\s*atsym\s+z\s+nc\s+nv.*\n\s*\S+\s+\S+\s+(?P<core>\d+)\s+(?P<valence>\d+).*\n"
    r"(?:\s*#.*\n)*(?P<levels>(?:\s*\d+\s+\d+\s+[\d.]+.*\n)+)"
)
_INFORMATION = re.compile(r"<PP_INFO>.*?</PP_INFO>", re.DOTALL)


@dataclass(frozen=True)
class Orbital:
    """A level of an atom.

    Attributes:
        label: as `5S`.
        momentum: angular momentum.
        occupation: electrons.
        energy_ry: Kohn–Sham energy; None where a file does not tell it.
        chi: r times the radial function on the file's mesh; its square integrates to 1.
    """

    label: str
    momentum: int
    occupation: float
    energy_ry: float | None
    chi: np.ndarray


@dataclass(frozen=True)
class PseudoAtom:
    """What a UPF file (version 2) of a norm-conserving pseudopotential holds.

    Attributes:
        element: symbol.
        electrons: valence electrons.
        r_a0: radial mesh (n) in Bohr radii.
        local_ry: local potential (n).
        projectors: of the non-local potential (m, n), times r.
        momenta: angular momentum of each (m).
        strengths_ry: (m, m).
        core: density (n) of the model core in 1/a0³, zero where there is none.
        density: valence density (n), times 4πr².
        orbitals: as the file has them.
        is_relativistic: whether it is of spin–orbit coupling, with two projectors for each of ours.
    """

    element: str
    electrons: float
    r_a0: np.ndarray
    local_ry: np.ndarray
    projectors: np.ndarray
    momenta: tuple[int, ...]
    strengths_ry: np.ndarray
    core: np.ndarray
    density: np.ndarray
    orbitals: tuple[Orbital, ...]
    is_relativistic: bool

    @classmethod
    def read(cls, path: Path) -> PseudoAtom:
        """Raises ValueError where the file is not a UPF file of version 2."""
        try:
            return cls._from_xml(_parsed(path))
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(f"{path.name} is not a whole UPF file of version 2: {error}") from None

    @classmethod
    def _from_xml(cls, root: ElementTree.Element) -> PseudoAtom:
        def values(tag: str) -> np.ndarray:
            return _values(root.find(tag))

        header = root.find("PP_HEADER")
        r = values("PP_MESH/PP_R")
        found = [b for b in root.iterfind("PP_NONLOCAL/*") if b.tag.startswith("PP_BETA")]
        return cls(
            element=header.get("element").strip(),
            electrons=_number(header.get("z_valence")),
            r_a0=r,
            local_ry=values("PP_LOCAL"),
            projectors=np.array([_values(b) for b in found]).reshape(-1, len(r)),
            momenta=tuple(int(b.get("angular_momentum")) for b in found),
            strengths_ry=values("PP_NONLOCAL/PP_DIJ").reshape(-1, len(found))
            if found
            else np.empty((0, 0)),
            core=values("PP_NLCC") if root.find("PP_NLCC") is not None else np.zeros_like(r),
            density=values("PP_RHOATOM"),
            orbitals=tuple(
                Orbital(
                    label=chi.get("label", "").strip(),
                    momentum=int(chi.get("l")),
                    occupation=_number(chi.get("occupation", "0")),
                    energy_ry=_number(told) if (told := chi.get("pseudo_energy")) else None,
                    chi=_values(chi),
                )
                for chi in root.iterfind("PP_PSWFC/*")
            ),
            is_relativistic=header.get("has_so", "F").strip(" .").upper().startswith("T"),
        )

    def solve(
        self, configuration: Sequence[tuple[int, int, float]], r_a0: np.ndarray | None = None
    ) -> tuple[Orbital, ...]:
        """Self-consistent levels of the spherical atom by PBE, not spin-polarised.

        Args:
            configuration: quantum numbers n and l, and occupation, of each level; of one l the
                lowest n lies lowest.
            r_a0: mesh of the orbitals; None: the file's.

        Returns:
            One orbital per level of the configuration.

        Raises:
            ValueError: its occupations are not the valence electrons, or it does not converge.
        """
        occupations = np.array([occupation for *_, occupation in configuration])
        if abs(occupations.sum() - self.electrons) > 1e-3:
            raise ValueError(
                f"{self.element}: levels {configuration} hold other than the "
                f"{self.electrons:g} valence electrons"
            )
        r = _mesh_a0()

        def spread(values: np.ndarray, beyond: np.ndarray | float = 0.0) -> np.ndarray:
            return np.where(r <= self.r_a0[-1], np.interp(r, self.r_a0, values), beyond)

        local = spread(self.local_ry, -2 * self.electrons / r)
        core = spread(self.core)
        density = spread(self.density)
        density *= self.electrons / (density.sum() * _SPACING_A0)
        projectors = np.array([spread(projector) for projector in self.projectors])
        momenta = {momentum for _, momentum, _ in configuration}
        fixed = {momentum: self._fixed_part(momentum, projectors) for momentum in momenta}
        # Of one angular momentum, which eigenvalue is meant.
        places = [
            sum(1 for lower, other, _ in configuration if other == momentum and lower < n)
            for n, momentum, _ in configuration
        ]
        levels = np.inf
        for _ in range(_MOST_ITERATIONS):
            potential = local + _hartree_ry(density) + _pbe_ry(density / (4 * np.pi * r**2) + core)
            solved = {}
            for momentum in momenta:
                _, waves = _waves(momentum)
                energies, states = eigh(
                    fixed[momentum] + (waves * potential) @ waves.T * _SPACING_A0
                )
                solved[momentum] = energies, states.T @ waves
            chosen = [(*solved[m], i) for (_, m, _), i in zip(configuration, places, strict=True)]
            before, levels = levels, np.array([energies[i] for energies, _, i in chosen])
            chis = np.array([chi[i] for _, chi, i in chosen])
            if np.abs(levels - before).max() < 1e-6:
                break
            density = density + _MIXING * (occupations @ chis**2 - density)
        else:
            raise ValueError(f"{self.element}: the free atom does not converge")
        mesh = self.r_a0 if r_a0 is None else r_a0
        chis *= np.sign(chis[np.arange(len(chis)), np.abs(chis).argmax(axis=1)])[:, None]
        return tuple(
            Orbital(
                label=f"{n}{_LETTERS[momentum]}",
                momentum=momentum,
                occupation=occupation,
                energy_ry=float(level),
                chi=np.interp(mesh, [0.0, *r], [0.0, *chi], right=0.0),
            )
            for (n, momentum, occupation), level, chi in zip(
                configuration, levels, chis, strict=True
            )
        )

    def _fixed_part(self, momentum: int, projectors: np.ndarray) -> np.ndarray:
        """Kinetic and non-local energy (waves, waves) in Ry; projectors on the sphere's mesh."""
        k, waves = _waves(momentum)
        own = [i for i, of in enumerate(self.momenta) if of == momentum]
        result = np.diag(k**2)
        if own:
            overlaps = waves @ projectors[own].T * _SPACING_A0
            result = result + overlaps @ self.strengths_ry[np.ix_(own, own)] @ overlaps.T
        return result


def reference_configuration(path: Path) -> tuple[tuple[int, int, float], ...]:
    """(n, l, occupation) of the valence levels that a file of ONCVPSP was made in.

    Raises:
        ValueError: the file does not hold the input of ONCVPSP.
    """
    found = _REFERENCE.search(path.read_text(errors="replace"))
    if found is None:
        raise ValueError(
            f"pseudopotential {path.parent.name}/{path.name} has no atomic orbitals (PP_CHI), by "
            "which projwfc.x tells the layer of a state, and no input of ONCVPSP that tells what "
            "they would be: expected a family with either, such as pseudodojo"
        )
    core, valence = int(found["core"]), int(found["valence"])
    rows = [row.split() for row in found["levels"].splitlines()][core : core + valence]
    return tuple((int(n), int(momentum), float(f)) for n, momentum, f, *_ in rows)


def check_soundness(path: Path) -> None:
    """Whether a file's potential is the one whose levels it names.

    Raises:
        ValueError: a projector is zero all over while its strength is not; or a level of the free
            atom is not where the file's own orbitals have it.
    """
    atom = PseudoAtom.read(path)
    for projector, momentum, strength in zip(
        atom.projectors, atom.momenta, np.diag(atom.strengths_ry), strict=True
    ):
        if strength and not projector.any():
            raise ValueError(
                f"pseudopotential {path.parent.name}/{path.name}: a projector for "
                f"{_LETTERS[momentum].lower()} is zero all over, of strength {strength:.2f} Ry: "
                "the file is not what was generated; expected one of another origin"
            )
    own = atom.orbitals
    told = sum(orbital.occupation for orbital in own)
    names_levels = all(o.energy_ry is not None and o.energy_ry < 0 for o in own)
    if not names_levels or abs(told - atom.electrons) > 1e-3 or atom.is_relativistic:
        return  # orbitals of another state, of spin–orbit coupling, or none: nothing to compare
    for ours, theirs in zip(atom.solve(_configuration_of(own)), own, strict=True):
        apart = (ours.energy_ry - theirs.energy_ry) * Rydberg
        if abs(apart) > SAME_LEVEL_EV:
            raise ValueError(
                f"pseudopotential {path.parent.name}/{path.name}: its level {theirs.label} comes "
                f"out {apart:+.2f} eV from where the file says it lies: the file is not what was "
                "generated; expected one of another origin"
            )


def with_orbitals(path: Path) -> str:
    """Text of a UPF file with atomic orbitals put in, and their density in place of its own.

    The mesh goes on to 10 a0 where it is shorter, which is as far as pw.x integrates orbitals:
    beyond a file's end the potential is that of the ion's charge. All else is kept.

    Raises:
        ValueError: the file does not tell the configuration that it was made in, or is one of
            spin–orbit coupling.
    """
    atom, configuration = PseudoAtom.read(path), reference_configuration(path)
    if atom.is_relativistic:
        raise ValueError(
            f"pseudopotential {path.parent.name}/{path.name} has no atomic orbitals and is one of "
            "spin–orbit coupling: expected a scalar-relativistic one"
        )
    step = atom.r_a0[-1] - atom.r_a0[-2]
    more = np.arange(atom.r_a0[-1] + step, _FARTHEST_A0 + step, step)
    r = np.append(atom.r_a0, more)
    try:
        orbitals = atom.solve(configuration, r)
    except ValueError as error:
        raise ValueError(
            f"pseudopotential {path.parent.name}/{path.name} has no atomic orbitals, and none can "
            f"be solved for: {error}; expected a family with orbitals, such as pseudodojo"
        ) from None
    root = _parsed(path)
    if root.find("PP_PSWFC") is None:
        place = [element.tag for element in root].index("PP_RHOATOM")
        root.insert(place, ElementTree.Element("PP_PSWFC"))
    beyond = {"PP_R": more, "PP_RAB": step, "PP_LOCAL": -2 * atom.electrons / more}

    def whole(element: ElementTree.Element) -> str:
        if len(element) or element.tag == "PP_PSWFC":
            parts = orbital_parts if element.tag == "PP_PSWFC" else [whole(e) for e in element]
            return "\n".join([f"<{element.tag}>", *parts, f"</{element.tag}>"])
        values = _values(element)
        if element.tag == "PP_RHOATOM":
            values = sum(o.occupation * o.chi**2 for o in orbitals)
        elif len(values) == len(atom.r_a0):
            values = np.append(values, np.broadcast_to(beyond.get(element.tag, 0.0), more.shape))
        return _section(element.tag, values, element.attrib)

    orbital_parts = [
        _section(
            f"PP_CHI.{i}",
            orbital.chi,
            {
                "index": i,
                "occupation": f"{orbital.occupation:.3f}",
                "pseudo_energy": f"{orbital.energy_ry:.6E}",
                "label": orbital.label,
                "l": orbital.momentum,
            },
        )
        for i, orbital in enumerate(orbitals, 1)
    ]
    text = path.read_text(errors="replace")
    head = text[: text.index("<PP_MESH")]
    for key, value in (("mesh_size", len(r)), ("number_of_wfc", len(orbitals))):
        head, found = re.subn(rf'{key}\s*=\s*"[^"]*"', f'{key}="{value}"', head)
        if found != 1:
            raise ValueError(f"{path.name}: no {key} in the header")
    head = head.replace(
        "</PP_INFO>", "Atomic orbitals and their density put in by heteroforge.\n</PP_INFO>"
    )
    sections = [whole(element) for element in root if element.tag != "PP_HEADER"]
    return head + "\n".join([*sections, "</UPF>\n"])


def _section(tag: str, values: np.ndarray, attributes: Mapping) -> str:
    told = {**attributes, "type": "real", "size": len(values), "columns": 4}
    lines = ["  ".join(f"{x:.12E}" for x in values[i : i + 4]) for i in range(0, len(values), 4)]
    entries = " ".join(f'{key}="{value}"' for key, value in told.items())
    return f"<{tag} {entries}>\n" + "\n".join(lines) + f"\n</{tag}>"


def _parsed(path: Path) -> ElementTree.Element:
    text = _INFORMATION.sub("", path.read_text(errors="replace")).replace("&", "&amp;")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"{path.name} is not a whole UPF file of version 2: {error}") from None


def _values(element: ElementTree.Element) -> np.ndarray:
    return np.array((element.text or "").split(), dtype=float)


def _number(text: str) -> float:
    return float(text.replace("D", "E").replace("d", "e"))


def _configuration_of(orbitals: Sequence[Orbital]) -> list[tuple[int, int, float]]:
    """Of a file's own orbitals; n counts from the lowest of each angular momentum."""
    return [
        (
            sum(o.momentum == own.momentum and o.energy_ry <= own.energy_ry for o in orbitals),
            own.momentum,
            own.occupation,
        )
        for own in orbitals
    ]


def _mesh_a0() -> np.ndarray:
    return np.arange(1, round(_RADIUS_A0 / _SPACING_A0)) * _SPACING_A0


@cache
def _waves(momentum: int) -> tuple[np.ndarray, np.ndarray]:
    """Spherical Bessel functions that vanish on the sphere: k (waves), and r j_l(kr) (waves, r)."""
    count = int(np.sqrt(_CUTOFF_RY) * _RADIUS_A0 / np.pi)
    zeros = np.pi * np.arange(1, count + momentum + 1)
    for order in range(1, momentum + 1):  # zeros of one order lie between those of the one below
        zeros = np.array(
            [
                brentq(lambda x, order=order: spherical_jn(order, x), below, above)
                for below, above in pairwise(zeros)
            ]
        )
    k, r = zeros / _RADIUS_A0, _mesh_a0()
    waves = r * spherical_jn(momentum, np.outer(k, r))
    return k, waves / np.sqrt((waves**2).sum(axis=1, keepdims=True) * _SPACING_A0)


def _hartree_ry(density: np.ndarray) -> np.ndarray:
    """Potential (n) of a density (n), times 4πr²."""
    r = _mesh_a0()
    within = np.cumsum(density) * _SPACING_A0
    shells = density / r * _SPACING_A0
    return 2 * (within / r + np.cumsum(shells[::-1])[::-1] - shells)


def _pbe_ry(density: np.ndarray) -> np.ndarray:
    """Exchange–correlation potential (n) of a density (n) in 1/a0³.

    By differences of the energy density ε(n, |∇n|): v = ∂ε/∂n − ∇·(∂ε/∂|∇n| ∇n/|∇n|).
    """
    r = _mesh_a0()
    n = np.maximum(density, 1e-14)
    slope = np.gradient(n, r)
    steepness = np.abs(slope) + 1e-20
    h = 1e-5
    by_density = (_pbe(n * (1 + h), steepness) - _pbe(n * (1 - h), steepness)) / (2 * h * n)
    by_slope = (_pbe(n, steepness * (1 + h)) - _pbe(n, steepness * (1 - h))) / (2 * h * steepness)
    flux = by_slope * np.sign(slope) * r**2
    return 2 * (by_density - np.gradient(flux, r) / r**2)


def _pbe(n: np.ndarray, steepness: np.ndarray) -> np.ndarray:
    """Exchange–correlation energy per volume in Hartree/a0³, not spin-polarised.

    J. P. Perdew, K. Burke, M. Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996), eqs 7, 8, 10, 14;
    uniform gas: J. P. Perdew, Y. Wang, Phys. Rev. B 45, 13244 (1992), eq. 10.
    """
    kf = np.cbrt(3 * np.pi**2 * n)
    s = steepness / (2 * kf * n)
    kappa, mu = 0.804, 0.2195149727645171
    exchange = -3 * kf / (4 * np.pi) * (1 + kappa - kappa / (1 + mu * s**2 / kappa))
    root = (3 / (4 * np.pi * n)) ** (1 / 6)  # √rs
    series = root * (7.5957 + root * (3.5876 + root * (1.6382 + root * 0.49294)))
    uniform = -2 * 0.0310907 * (1 + 0.21370 * root**2) * np.log1p(1 / (2 * 0.0310907 * series))
    gamma, beta = (1 - np.log(2)) / np.pi**2, 0.06672455060314922
    t2 = steepness**2 * np.pi / (16 * kf * n**2)  # ks² = 4 kF/π
    a = beta / gamma / np.expm1(-uniform / gamma)
    ratio = (1 + a * t2) / (1 + a * t2 + (a * t2) ** 2)
    gradient = gamma * np.log1p(beta / gamma * t2 * ratio)
    return n * (exchange + uniform + gradient)
