"""Monolayers from different sources, checked and put into one library."""

from heteroforge.sources.candidates import Candidate, collect
from heteroforge.sources.library import (
    PROPERTIES,
    Library,
    read_library,
    write_library,
)
from heteroforge.sources.reading import read_candidates

__all__ = [
    "PROPERTIES",
    "Candidate",
    "Library",
    "collect",
    "read_candidates",
    "read_library",
    "write_library",
]
