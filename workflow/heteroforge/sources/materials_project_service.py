"""The service of the Materials Project: patient requests, and answers that are kept.

Nothing here loads the official client before the service is really asked, so that a campaign's
configuration can be checked at once.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import requests

from heteroforge.io import InputError, atomic_path

__all__ = ["KEY_VARIABLE", "Answer", "Search", "ask", "key_fault", "kept_answer"]

KEY_VARIABLE = "MP_API_KEY"
KEY_LENGTH = 32
ENDPOINT_VARIABLE = "MP_API_ENDPOINT"
ENDPOINT = "https://api.materialsproject.org/"

FIELDS = (
    "material_id",
    "formula_pretty",
    "structure",
    "band_gap",
    "energy_above_hull",
    "theoretical",
)
PAGE = 500
TIMEOUT_S = 60.0
# The service limits requests by the minute: the last waits must outlive that.
WAITS_S = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
LONGEST_WAIT_S = 120.0
BUSY = (429, 500, 502, 503, 504)
LOST = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


@dataclass(frozen=True)
class Search:
    """What is asked of the Materials Project.

    Attributes:
        elements: a material holds at least one of them; empty: any.
        gap_ev: window of the bulk's PBE gap, None for an open end.
        energy_above_hull_ev_atom: at most.
        maximum_sites: of the bulk cell, at most.
        include_theoretical: whether materials without an experimental entry are taken.
        include_gnome: whether materials predicted by GNoME are taken.
    """

    elements: tuple[str, ...]
    gap_ev: tuple[float | None, float | None]
    energy_above_hull_ev_atom: float
    maximum_sites: int
    include_theoretical: bool
    include_gnome: bool

    @classmethod
    def from_mapping(cls, values: Mapping) -> Search:
        """From the keys of `library.materials_project`."""
        lists = {key: tuple(values[key]) for key in ("elements", "gap_ev")}
        return cls(**{**values, **lists})

    def key(self) -> str:
        """Short hash: equal searches for equal fields have equal ones, whatever their order."""
        asked = {**vars(self), "elements": sorted(self.elements), "fields": FIELDS}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Answer:
    """Documents as the service sent them, and the version of its database."""

    database_version: str
    documents: list[dict]


def key_fault(environment: Mapping[str, str] = os.environ) -> str:
    """What is wrong with the key in the environment; empty if it may be right."""
    key = environment.get(KEY_VARIABLE, "").strip()
    if not key:
        return (
            f"{KEY_VARIABLE} is not set: the Materials Project wants a key, free from "
            "https://materialsproject.org/api"
        )
    if len(key) != KEY_LENGTH:
        return (
            f"{KEY_VARIABLE} has {len(key)} characters: a key of the Materials Project has "
            f"{KEY_LENGTH} (https://materialsproject.org/api)"
        )
    return ""


def kept_answer(search: Search, cache: str | Path) -> Path | None:
    """The kept answer to a search, of the newest database version; None where there is none."""
    return max(Path(cache).glob(f"*/{search.key()}.json.gz"), default=None)


def ask(
    search: Search,
    cache: str | Path,
    endpoint: str | None = None,
    waits_s: tuple[float, ...] = WAITS_S,
    report: Callable[[str], None] = print,
) -> Answer:
    """The answer to a search: the kept one, else the service's, which is kept.

    What passes by itself (too many requests, a server's fault, a lost connection) is asked again
    after a while; the rest ends at once.

    Args:
        search: what to ask.
        cache: folder of kept answers, `<database version>/<hash of the search>.json.gz`.
        endpoint: address of the service; None: MP_API_ENDPOINT, or the public one.
        waits_s: seconds before each new attempt; the service's own `Retry-After` counts if longer.
        report: told in a line what goes on.

    Raises:
        InputError: no key, a refused one, a service that stays away, an answer that is empty or
            not whole; in one line that never holds the key.
    """
    kept = kept_answer(search, cache)
    if kept is not None:
        report(f"Materials Project: {kept} answers, nothing is asked (delete it to ask again)")
        return _read(kept)
    if fault := key_fault():
        raise InputError(fault)
    key = os.environ[KEY_VARIABLE].strip()
    endpoint = endpoint or os.environ.get(ENDPOINT_VARIABLE) or ENDPOINT
    endpoint = endpoint if endpoint.endswith("/") else f"{endpoint}/"
    session = _PatientSession(waits_s, report)
    try:
        answer = _ask_service(search, key, endpoint, session)
    except InputError:
        raise
    except Exception as error:  # the client raises its own errors and those of four libraries
        told = " ".join(f"{type(error).__name__}: {error}".split()).replace(key, "<key>")[:300]
        raise InputError(f"Materials Project ({endpoint}): {told}") from None
    if not answer.documents:
        raise InputError(
            "Materials Project: no material meets the search: widen the filters under "
            "library.materials_project (elements, gap_ev, energy_above_hull_ev_atom, maximum_sites)"
        )
    path = Path(cache) / answer.database_version / f"{search.key()}.json.gz"
    _write(path, answer)
    report(
        f"Materials Project, database {answer.database_version}: {len(answer.documents)} "
        f"materials, kept in {path}"
    )
    return answer


def _ask_service(search: Search, key: str, endpoint: str, session: _PatientSession) -> Answer:
    # The client asks for the heartbeat once more, but without patience.
    heartbeat = session.get(f"{endpoint}heartbeat").json()
    version = str(heartbeat.get("db_version") or "")
    if not version:
        told = heartbeat.get("error", "no db_version in it")
        raise InputError(f"Materials Project ({endpoint}): no usable heartbeat: {told}")
    # Imported here: it takes seconds, and a kept answer does without.
    from mp_api.client import MPRester

    limits = {
        "band_gap": tuple(
            default if end is None else float(end)
            for end, default in zip(search.gap_ev, (0.0, 100.0), strict=True)
        ),
        # Slightly negative on tie lines, by rounding.
        "energy_above_hull": (-0.1, float(search.energy_above_hull_ev_atom)),
        "num_sites": (1, int(search.maximum_sites)),
        "deprecated": False,
        "theoretical": None if search.include_theoretical else False,
        "include_gnome": search.include_gnome,
        "fields": list(FIELDS),
        "all_fields": False,
        "chunk_size": PAGE,
    }
    documents: dict[str, dict] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the client warns of its own deprecations
        # Raw documents: the client's models would fail a whole page for one bad document.
        rester = MPRester(
            key,
            endpoint=endpoint,
            session=session,
            use_document_model=False,
            mute_progress_bars=True,
        )
        # The service takes a list of elements as all of them: one search per element.
        for wanted in [[element] for element in search.elements] or [None]:
            found = rester.materials.summary.search(elements=wanted, **limits)
            if len(found) != session.announced:
                raise InputError(
                    f"Materials Project ({endpoint}): {len(found)} of {session.announced} "
                    "materials announced have come: ask again"
                )
            documents |= {str(document.get("material_id")): document for document in found}
    return Answer(version, list(documents.values()))


class _PatientSession(requests.Session):
    """A session that asks again after what passes by itself, and ends at once after the rest.

    Attributes:
        announced: how many documents the last answer said there are in all.
    """

    def __init__(self, waits_s: tuple[float, ...], report: Callable[[str], None]) -> None:
        super().__init__()
        self.waits_s = waits_s
        self.report = report
        self.announced = 0

    def request(self, method, url, **settings):
        settings["timeout"] = TIMEOUT_S
        waits_s = iter(self.waits_s)
        while True:
            try:
                response = super().request(method, url, **settings)
            except LOST as error:
                fault, wanted_s = f"cannot be reached ({type(error).__name__})", 0.0
            else:
                fault, wanted_s = self._fault(response)
                if not fault:
                    return response
            wait_s = next(waits_s, None)
            if wait_s is None:
                raise InputError(
                    f"Materials Project ({_place(url)}): {fault}, {len(self.waits_s) + 1} "
                    "attempts: see https://status.materialsproject.org and start again later"
                )
            wait_s = min(max(wait_s, wanted_s), LONGEST_WAIT_S)
            self.report(f"Materials Project: {fault}; asking again in {wait_s:g} s")
            time.sleep(wait_s)

    def _fault(self, response: requests.Response) -> tuple[str, float]:
        """What passes by itself, and for how many seconds the service wants to be left alone."""
        status = response.status_code
        if status in BUSY:
            reason = "too many requests" if status == 429 else "server's fault"
            return f"status {status} ({reason})", _seconds(response.headers.get("Retry-After"))
        if status in (401, 403):
            raise InputError(
                f"Materials Project ({_place(response.url)}): refused (status {status}, "
                f"{_told(response)}): is the key in {KEY_VARIABLE} the one that "
                "https://materialsproject.org/api shows?"
            )
        if status == 200:
            try:
                content = response.json()
            except ValueError:
                return "an answer that is not JSON", 0.0
            self.announced = content.get("meta", {}).get("total_doc", 0)
        return "", 0.0


def _seconds(retry_after: str | None) -> float:
    # It may be a date instead, which the own waits stand in for.
    return float(retry_after) if retry_after and retry_after.isdigit() else 0.0


def _place(url: str) -> str:
    return url.split("?")[0]


def _told(response: requests.Response) -> str:
    """What a refusal says, short and in one line; it never echoes the key."""
    told = " ".join(response.text.split())[:120] or "no reason given"
    return told.replace(response.request.headers.get("x-api-key", "") or "\0", "<key>")


def _write(path: Path, answer: Answer) -> None:
    with atomic_path(path) as partial, gzip.open(partial, "wt", encoding="utf-8") as handle:
        json.dump(vars(answer), handle)


def _read(path: Path) -> Answer:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as handle:
            return Answer(**json.load(handle))
    except (OSError, EOFError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not a readable answer ({error}): delete it") from None
