"""Layers cut out of layered bulk crystals of the Materials Project."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pymatgen.core import Structure

from heteroforge.sources.bulk import cut_layers
from heteroforge.sources.candidates import Candidate
from heteroforge.sources.materials_project_service import Search, ask
from heteroforge.structures import StructureError

__all__ = ["candidates_from_documents", "read_candidates"]


def read_candidates(search: Mapping[str, object], cache: str | Path) -> Iterator[Candidate]:
    """Candidates from the Materials Project; crystals that are not layered come with the reason.

    Args:
        search: attributes of `materials_project_service.Search`.
        cache: folder of the service's answers.
    """
    answer = ask(Search.from_mapping(search), cache)
    yield from candidates_from_documents(answer.documents, answer.database_version)


def candidates_from_documents(
    documents: Iterable[Mapping], database_version: str
) -> Iterator[Candidate]:
    """One candidate per distinct layer of each document's `structure`.

    Properties stay unknown: gaps and edges of a bulk crystal are not those of its layer.

    Args:
        documents: as the service sends them; one that lacks a field or cannot be read comes with
            the reason.
        database_version: written into the candidates' source.
    """
    for document in documents:
        place = str(document.get("material_id") or "without material_id")
        name = f"{document.get('formula_pretty') or 'unknown'}-{place}"
        source = f"Materials Project {place}, database {database_version}"
        lacking = [
            key for key in ("material_id", "formula_pretty", "structure") if not document.get(key)
        ]
        if lacking:
            reason = f"the Materials Project sent no {' and no '.join(lacking)}"
            yield Candidate(name, reason=reason, source=source, file=place)
            continue
        try:
            layers = cut_layers(Structure.from_dict(document["structure"]))
        except StructureError as error:
            yield Candidate(name, reason=str(error), source=source, file=place)
            continue
        except Exception as error:  # odd cells and broken documents raise many types
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
