"""Layers cut out of layered bulk crystals of the Materials Project."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from heteroforge.io import InputError
from heteroforge.sources.bulk import cut_layers
from heteroforge.sources.candidates import Candidate
from heteroforge.structures import StructureError

__all__ = ["candidates_from_documents", "read_candidates", "search"]

FIELDS = ["material_id", "formula_pretty", "structure"]
KEY_VARIABLE = "MP_API_KEY"


def read_candidates(
    elements: Sequence[str],
    gap_ev: Sequence[float | None],
    energy_above_hull_ev_atom: float,
    maximum_sites: int,
    include_gnome: bool,
) -> Iterator[Candidate]:
    """Candidates from the Materials Project; crystals that are not layered come with the reason.

    Args: see `search`.
    """
    yield from candidates_from_documents(
        search(elements, gap_ev, energy_above_hull_ev_atom, maximum_sites, include_gnome)
    )


def search(
    elements: Sequence[str],
    gap_ev: Sequence[float | None],
    energy_above_hull_ev_atom: float,
    maximum_sites: int,
    include_gnome: bool,
) -> list:
    """Documents (`material_id`, `formula_pretty`, `structure`) of the Materials Project.

    Args:
        elements: at least one of them; empty: any.
        gap_ev: window of the bulk's PBE gap, None for an open end.
        energy_above_hull_ev_atom: at most.
        maximum_sites: of the bulk cell, at most.
        include_gnome: whether materials predicted by GNoME are taken.

    Raises:
        InputError: no key in MP_API_KEY, or the service refuses or cannot be reached.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        raise InputError(
            f"{KEY_VARIABLE} is not set: library.source materials_project needs a key of the "
            "Materials Project in the environment"
        )
    # Imported here: it is slow, and the other sources do without.
    from mp_api.client import MPRester

    low, high = gap_ev
    limits = {
        "band_gap": (0.0 if low is None else float(low), 100.0 if high is None else float(high)),
        "energy_above_hull": (0.0, float(energy_above_hull_ev_atom)),
        "num_sites": (1, int(maximum_sites)),
        "deprecated": False,
        "include_gnome": bool(include_gnome),
        "fields": FIELDS,
        "all_fields": False,
    }
    found = {}
    try:
        with MPRester(key, mute_progress_bars=True) as rester:
            # The service takes a list of elements as all of them: one search per element.
            for wanted in [[element] for element in elements] or [None]:
                for document in rester.materials.summary.search(elements=wanted, **limits):
                    found[str(document.material_id)] = document
    except Exception as error:  # the client raises its own and those of three libraries
        told = " ".join(str(error).split()).replace(key, "<key>")[:300]
        raise InputError(f"Materials Project: {type(error).__name__}: {told}") from None
    return list(found.values())


def candidates_from_documents(documents: Iterable) -> Iterator[Candidate]:
    """One candidate per distinct layer of each document's `structure`.

    Properties stay unknown: gaps and edges of a bulk crystal are not those of its layer.
    """
    for document in documents:
        name = f"{document.formula_pretty}-{document.material_id}"
        place = str(document.material_id)
        source = f"Materials Project {place}"
        try:
            layers = cut_layers(document.structure)
        except StructureError as error:
            yield Candidate(name, reason=str(error), source=source, file=place)
            continue
        except Exception as error:  # graph analysis can fail on odd cells; the rest goes on
            told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            yield Candidate(name, reason=f"cannot be cut: {told}", source=source, file=place)
            continue
        for number, layer in enumerate(layers):
            yield Candidate(
                material=name if len(layers) == 1 else f"{name}-{number}",
                atoms=layer.to_atoms(),
                source=source,
                file=place,
            )
