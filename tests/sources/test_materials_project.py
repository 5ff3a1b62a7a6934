"""The official client, over HTTP, against a loopback server that speaks the service's protocol."""

import json

import crystals
import pytest
from materials_project_server import KEY, MaterialsProjectServer, document

from heteroforge.io import InputError
from heteroforge.sources import collect, materials_project
from heteroforge.sources import materials_project_service as service
from heteroforge.sources.materials_project_service import Search, ask

SEARCH = Search(
    elements=(),
    gap_ev=(None, None),
    energy_above_hull_ev_atom=0.1,
    maximum_sites=30,
    include_theoretical=True,
    include_gnome=False,
)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("MP_API_KEY", KEY)
    bulk = {**crystals.LAYERED, **crystals.NOT_LAYERED}
    with MaterialsProjectServer([document(name, bulk[name]) for name in bulk]) as running:
        monkeypatch.setenv("MP_API_ENDPOINT", running.endpoint)
        yield running


@pytest.fixture
def patient(monkeypatch):
    """Waits without waiting; the seconds that would have passed."""
    waited = []
    monkeypatch.setattr(service.time, "sleep", waited.append)
    return waited


def changed(**values) -> Search:
    return Search(**(vars(SEARCH) | values))


def fault_of(cache, search=SEARCH) -> str:
    with pytest.raises(InputError) as caught:
        ask(search, cache)
    message = str(caught.value)
    assert "\n" not in message
    assert KEY not in message
    assert not list(cache.rglob("*.json.gz")), "a failed answer must not be kept"
    return message


def test_library_of_well_known_crystals(server, tmp_path, monkeypatch):
    monkeypatch.setattr(service, "PAGE", 5)
    library, rejected = collect(
        materials_project.read_candidates(vars(SEARCH), tmp_path), maximum_atoms=6
    )
    assert set(library.monolayers) == {
        "MoS2-mp-2815", "C-mp-48", "BN-mp-984", "P-mp-157", "InSe-mp-20485", "GaSe-mp-1943",
        "Bi2Te3-mp-34202", "Te2W-mp-22693", "SnS-mp-2231",
    }  # fmt: skip
    assert set(library.table["source"].str.extract("database (.*)")[0]) == {"2025_09_25"}
    reasons = rejected.set_index("file")["reason"].to_dict()
    assert {name: reason.split(":")[0] for name, reason in reasons.items()} == {
        "mp-149": "3D",
        "mp-22862": "3D",
        "mp-14": "1D",
        "mp-20066": "0D",
        "mp-22526": "intercalated",
        "mp-20589": "8 atoms in the primitive cell, at most 6 expected",
        "mp-1213805": "8 atoms in the primitive cell, at most 6 expected",
    }
    # Sixteen crystals came in pages of five.
    assert [int(query.get("_skip", 0)) for query in server.searches] == [0, 5, 10, 15]
    assert all(query["_fields"] == ",".join(service.FIELDS) for query in server.searches)


def test_filters_reach_the_service(server, tmp_path):
    server.documents = [
        document("mp-1", crystals.MOLYBDENITE),
        document("mp-2", crystals.MOLYBDENITE, band_gap=0.2),
        document("mp-3", crystals.MOLYBDENITE, energy_above_hull=0.3),
        document("mp-4", crystals.MOLYBDENITE, theoretical=True),
        document("mp-5", crystals.MOLYBDENITE, batch_id="gnome_r2scan_statics"),
        document("mp-6", crystals.BISMUTH_TELLURIDE),
        document("mp-7", crystals.GRAPHITE),
    ]
    search = changed(
        elements=("Mo", "C"), gap_ev=(0.5, None), maximum_sites=14, include_theoretical=False
    )
    assert [d["material_id"] for d in ask(search, tmp_path).documents] == ["mp-1", "mp-7"]
    assert len(server.searches) == 2, "one search per element: the service joins them by and"
    everything = changed(include_gnome=True, energy_above_hull_ev_atom=1.0)
    assert len(ask(everything, tmp_path).documents) == 7


def test_second_run_asks_for_nothing(server, tmp_path):
    first = ask(SEARCH, tmp_path)
    asked = len(server.requests)
    assert ask(SEARCH, tmp_path) == first
    assert len(server.requests) == asked
    (kept,) = tmp_path.rglob("*.json.gz")
    assert kept.parent.name == "2025_09_25"
    # Another search is another question, and a new version of the database another answer.
    server.heartbeat = {**server.heartbeat, "db_version": "2026_01_01"}
    assert ask(changed(maximum_sites=4), tmp_path).database_version == "2026_01_01"


def test_kept_answer_needs_no_key(server, tmp_path, monkeypatch):
    ask(SEARCH, tmp_path)
    monkeypatch.delenv("MP_API_KEY")
    assert len(ask(SEARCH, tmp_path).documents) == 16


def test_order_of_elements_is_the_same_question():
    assert changed(elements=("S", "Mo")).key() == changed(elements=("Mo", "S")).key()
    assert changed(elements=("S",)).key() != SEARCH.key()


@pytest.mark.parametrize("fault", [429, 500, 502, 503, 504, "drop", "cut"])
def test_what_passes_is_asked_again(server, tmp_path, patient, fault):
    server.faults = [fault, fault]
    assert len(ask(SEARCH, tmp_path).documents) == 16
    assert patient == [1.0, 2.0]


def test_fault_on_a_later_page_does_not_start_anew(server, tmp_path, patient, monkeypatch):
    monkeypatch.setattr(service, "PAGE", 5)
    server.faults = [None, None, 503]
    assert len(ask(SEARCH, tmp_path).documents) == 16
    assert [int(query.get("_skip", 0)) for query in server.searches] == [0, 5, 10, 10, 15]


def test_service_says_how_long_to_wait(server, tmp_path, patient):
    server.faults, server.retry_after = [429], 45
    ask(SEARCH, tmp_path)
    assert patient == [45.0]


@pytest.mark.parametrize(("fault", "word"), [(429, "429"), (503, "503"), ("drop", "reached")])
def test_what_does_not_pass_ends_in_one_line(server, tmp_path, patient, fault, word):
    server.faults = [fault] * 20
    message = fault_of(tmp_path)
    assert word in message
    assert "7 attempts" in message
    assert sum(patient) > 60, "limits are by the minute"


def test_unreachable_service(server, tmp_path, patient, monkeypatch):
    monkeypatch.setenv("MP_API_ENDPOINT", "http://127.0.0.1:9/")
    assert "cannot be reached" in fault_of(tmp_path)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_key(server, tmp_path, patient, status):
    server.faults = [status]
    message = fault_of(tmp_path)
    assert "is the key in MP_API_KEY" in message
    assert str(status) in message
    assert patient == [], "a refused key stays refused"


def test_wrong_key(server, tmp_path, monkeypatch):
    wrong = KEY[::-1]
    monkeypatch.setenv("MP_API_KEY", wrong)
    message = fault_of(tmp_path)
    assert "401" in message
    assert wrong not in message


def test_missing_and_misshapen_key(server, tmp_path, monkeypatch):
    monkeypatch.delenv("MP_API_KEY")
    assert fault_of(tmp_path).startswith("MP_API_KEY is not set")
    monkeypatch.setenv("MP_API_KEY", "short-secret")
    message = fault_of(tmp_path)
    assert "MP_API_KEY has 12 characters" in message
    assert "secret" not in message
    assert server.requests == []


def test_bad_request_is_told_and_not_repeated(server, tmp_path, patient):
    server.faults = [422]
    assert "422" in fault_of(tmp_path)
    assert patient == []


def test_empty_answer(server, tmp_path):
    assert "no material meets the search" in fault_of(tmp_path, changed(elements=("Tl",)))


def test_answer_with_a_page_missing(server, tmp_path, monkeypatch):
    monkeypatch.setattr(service, "PAGE", 5)
    server.faults = [None, "page"]
    assert "5 of 16 materials announced" in fault_of(tmp_path)


@pytest.mark.parametrize(
    "heartbeat", [{"error": "maintenance"}, {"db_version": ""}], ids=["error", "no version"]
)
def test_heartbeat_without_a_version(server, tmp_path, heartbeat):
    server.heartbeat = heartbeat
    assert "no usable heartbeat" in fault_of(tmp_path)


def test_broken_documents_are_set_aside():
    good = document("mp-48", crystals.GRAPHITE)
    headless = {key: value for key, value in good.items() if key != "material_id"}
    broken = document("mp-5", crystals.GRAPHITE, structure={"lattice": {}})
    documents = [document("mp-4", crystals.GRAPHITE, structure=None), headless, broken, good]
    # As they come over the line.
    documents = json.loads(json.dumps(documents))
    library, rejected = collect(
        materials_project.candidates_from_documents(documents, "2025_09_25"), maximum_atoms=6
    )
    assert list(library.monolayers) == ["C-mp-48"]
    assert rejected["reason"].str.slice(0, 40).tolist() == [
        "the Materials Project sent no structure",
        "the Materials Project sent no material_i",
        "cannot be cut: KeyError: 'a'",
    ]


def test_half_an_answer_on_disk_is_named(server, tmp_path):
    ask(SEARCH, tmp_path)
    (kept,) = tmp_path.rglob("*.json.gz")
    kept.write_bytes(kept.read_bytes()[:200])
    with pytest.raises(InputError, match="not a readable answer .* delete it"):
        ask(SEARCH, tmp_path)
