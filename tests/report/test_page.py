"""The report page: complete, self-contained, honest about what is missing."""

import base64
import io
import json
import re
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace

import ase.io
import numpy as np
import pandas as pd
import pytest
from campaign_files import CONFIGURATION, HOSTILE, TARGETS, write_campaign
from candidates import candidate
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Structure
from pymatgen.io.ase import AseAtomsAdaptor

from heteroforge.io import read_json, read_table, write_json, write_table, write_text
from heteroforge.report.campaign import Campaign
from heteroforge.report.page import _advice, _counts, make_page, write_report
from heteroforge.report.status import read_status
from heteroforge.report.tables import make_table

LARGEST_PAGE_BYTES = 10_000_000


class Page(HTMLParser):
    """Elements with their attributes, and the text outside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if self.open and self.open[-1] == tag:
            self.open.pop()

    def handle_data(self, data):
        if not self.open:
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def html(finished_campaign):
    """Without the libraries, whose code is not ours: test_browser.py has them."""
    return make_page(Campaign(finished_campaign, TARGETS, CONFIGURATION), libraries="nowhere")


def test_page_loads_nothing(html):
    page = Page(html)
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
            address = attributes.get(name)
            assert address is None or address.startswith(("#", "data:")), (tag, name, address)
    assert "@import" not in html
    for address in re.findall(r"url\(([^)]*)\)", html):
        assert address.strip("'\"").startswith(("#", "data:")), address
    addresses = set(re.findall(r"https?://[^\"'\s<)]*", html))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    policy = [m for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policy and policy[0]["content"].startswith("default-src 'none'")
    assert len(html.encode()) < LARGEST_PAGE_BYTES


def test_numbers_with_units_are_there(html):
    text = Page(html).text.replace("\u202f", " ")
    assert "1 of 3 stacks given to DFT meets all targets. Best: MoS₂ / WS₂." in text
    for shown in (
        "between 1 and 3 eV",  # asked for
        "1.31 ± 0.11 eV",  # predicted
        "1.24 eV",  # computed
        "17.2 ± 1.2 meV/Å²",
        "outside: band gap",
        "1.02 ± 0.09 eV",
        "0.71 eV",
        "SCF not converged after 5 attempts",
        "400",
        "300",
        "Set aside: 1 of 5 materials (20 %)",
        "6 commensurate cells for 6 pairs",
        "a hit rate of 33 %",
        "5.0 core-minutes of pw.x in the mean (at most 5.0), 10 % of it in runs that needed",
        "6.7MaX",
        "The GNN beats every simpler predictor for 1 of 1 property (band gap)",
        "0.150",
        "0.310",
        "0.11 eV in the mean (40 stacks)",  # trust in the prediction of the gap
        "66 % of them, 68 % expected",
        "0.19 eV in the mean of 2, 0.31 eV at worst",
        "the validation loss was lowest in epoch 20",
        "II (Anderson's rule)",
    ):
        assert shown in text, shown


def test_best_candidate_first(finished_campaign):
    campaign = Campaign(finished_campaign, TARGETS)
    assert [c.slot for c in campaign.candidates] == [0, 1, 2]
    assert [c.status for c in campaign.candidates] == ["verified", "verified", "failed"]
    assert campaign.candidates[1].misses == ["gap_ev"]
    # Narrower targets turn the order round.
    other = Campaign(finished_campaign, {"gap_ev": [0.5, 0.9]})
    assert [c.slot for c in other.candidates] == [1, 0, 2]


def test_values_decide_not_the_flag_in_the_table(undrawn_campaign):
    """Targets changed after the run are judged by the values."""
    campaign = Campaign(undrawn_campaign, {"gap_ev": [2.0, 3.0]})
    assert not any(c.meets_targets for c in campaign.verified)
    assert "0 of 3 stacks given to DFT meet all targets" in make_page(campaign)


def test_drawn_stacks_are_counted_apart_from_selected_ones(undrawn_campaign):
    path = undrawn_campaign / "screening/selected.csv"
    chosen = read_table(path)
    # The one that meets the targets was only drawn at random.
    chosen = chosen.assign(role=["control", "exploitation", "exploitation"], is_control=True)
    write_table(path, chosen)
    relaxed = read_table(undrawn_campaign / "screening/force_field.csv")
    relaxed["only_drawn"] = relaxed["outcome"] == "rejected"
    write_table(undrawn_campaign / "screening/force_field.csv", relaxed)
    campaign = Campaign(undrawn_campaign, TARGETS, CONFIGURATION)
    assert campaign.number_selected == 2
    counts = dict(_counts(campaign))
    assert [counts[name] for name in ("selected for DFT", "verified by DFT", "meet all targets")] \
        == ["2", "1", "0"]  # fmt: skip
    assert counts["drawn at random beside them"] == counts["of these meet all targets"] == "1"
    text = page_words(undrawn_campaign)
    assert "0 of 2 stacks selected for DFT meet all targets, and 1 of 1 drawn at random." in text
    assert "2 stacks selected for DFT, with a probability of 0.660 to 0.810" in text
    assert "Beside them DFT gets 1 stack drawn at random" in text
    assert "3 of 3 candidates held together" in text  # and none was turned away
    assert "layers come apart" not in text
    write_table(path, chosen.assign(role="control"))
    text = page_words(undrawn_campaign)
    assert "None of the selected stacks is computed; 1 of 3 drawn at random meets" in text


def test_every_id_is_unique(html):
    ids = [attributes["id"] for _, attributes in Page(html).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = {a["href"][1:] for a in Page(html).all("a") if a.get("href", "").startswith("#")}
    assert anchors <= set(ids)


def test_pictures_have_words(html):
    page = Page(html)
    assert all(image.get("alt") for image in page.all("img"))
    drawings = page.all("svg")
    assert len(drawings) >= 8
    assert all(svg.get("aria-label") or svg.get("aria-hidden") for svg in drawings)


def test_pictures_of_stages_follow_the_page(html):
    """A stage's own SVG is drawn inline in the colours of the page, not as a white image."""
    assert 'id="labels-predicted-and-dft-figure_1"' in html
    assert "#1c2128" not in html.split("</style>", 1)[1]


def test_downloads_hold_the_structure(html, finished_campaign):
    """Read back with ASE and pymatgen: the structure that DFT relaxed, whatever the format."""
    links = {a["download"]: a["href"] for a in Page(html).all("a") if "download" in a}
    relaxed = ase.io.read(finished_campaign / "dft/slot_0/relaxed.extxyz")
    for kind in ("cif", "extxyz"):
        address = links[f"MoS2-WS2_slot0.{kind}"]
        text = base64.b64decode(address.split(",", 1)[1]).decode()
        atoms = ase.io.read(io.StringIO(text), format=kind)
        assert sorted(atoms.symbols) == sorted(relaxed.symbols)
        distances = sorted(relaxed.get_all_distances(mic=True).ravel())
        assert sorted(atoms.get_all_distances(mic=True).ravel()) == pytest.approx(
            distances, abs=2e-4
        )
        if kind == "cif":
            structure = Structure.from_str(text, fmt="cif")
            assert structure.composition.as_dict() == {"Mo": 1, "W": 1, "S": 4}
            assert StructureMatcher().fit(structure, AseAtomsAdaptor.get_structure(atoms))


def test_markup_in_names_is_escaped(tmp_path):
    folder = write_campaign(tmp_path / "results/demo", hostile=True)
    configuration = {**CONFIGURATION, "campaign": HOSTILE}
    html = make_page(Campaign(folder, TARGETS, configuration), libraries="nowhere")
    assert HOSTILE not in html
    assert html.count("<script>") == 1  # the page's own
    scenes = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.DOTALL)
    assert len(scenes) == 2 and all(json.loads(scene)["symbols"] for scene in scenes)
    assert "&lt;script&gt;alert" in html


def test_secrets_are_not_shown(undrawn_campaign):
    configuration = {**CONFIGURATION, "library": {"api_key": "abc123", "token": "def456"}}
    html = make_page(Campaign(undrawn_campaign, TARGETS, configuration))
    assert "abc123" not in html and "def456" not in html
    assert "api_key: (not shown)" in html


def test_unfinished_campaign_shows_where_it_stands(undrawn_campaign):
    log = undrawn_campaign / "logs/train_gvae.log"
    write_text(log, "epoch 1\nInputError: labels.parquet: no column value\n")
    stages = read_status(undrawn_campaign, {"gvae": {"train_gvae": 1}, "gnn": {"evaluate_gnn": 1}})
    campaign = Campaign(undrawn_campaign, TARGETS, CONFIGURATION)
    html = make_page(campaign, libraries="nowhere", stages=stages)
    text = Page(html).text
    assert "train_gvae  failed: InputError: labels.parquet: no column value" in text
    assert str(log) in text and "1 of the jobs ended with an error" in text
    assert "Where it stands" not in Page(make_page(campaign, libraries="nowhere")).text


def test_empty_campaign_says_what_to_do(tmp_path):
    write_report(tmp_path / "results/new", tmp_path / "page.html", TARGETS, CONFIGURATION)
    text = Page((tmp_path / "page.html").read_text()).text
    assert "No candidate has been verified: nothing was selected for DFT yet." in text
    assert "snakemake --cores all" in text
    assert text.count("This stage has left no results yet") == 9


@pytest.mark.parametrize("missing", [0, 1])
def test_slots_that_stayed_empty_are_told(campaign_folder, missing):
    number = Campaign(campaign_folder, TARGETS, CONFIGURATION).number_selected
    configuration = CONFIGURATION | {"dft": {"slots": number + missing}}
    reasons = ["more than 6 atoms", "more than 6 atoms", "more than 15 core-minutes"]
    write_table(campaign_folder / "screening/rejected.csv", pd.DataFrame({"reason": reasons}))
    text = Page(make_page(Campaign(campaign_folder, TARGETS, configuration))).text
    assert ("set aside, most often: more than 6 atoms, 2 of 3" in text) == bool(missing)
    assert (f"{number} of {number + missing} slots are filled" in text) == bool(missing)


def test_all_failed(campaign_folder):
    for slot in (0, 1):
        shutil.rmtree(campaign_folder / f"dft/slot_{slot}")
    (campaign_folder / "dft/results.parquet").unlink()
    html = make_page(Campaign(campaign_folder, TARGETS, CONFIGURATION))
    assert "No candidate has been verified: the only calculation failed." in html
    assert html.count("not computed yet") == 2


@pytest.mark.parametrize(
    "stage",
    ["library", "clustering", "stacks", "labels", "gvae", "gnn", "samples", "screening", "dft"],
)
def test_any_stage_may_be_missing(undrawn_campaign, stage):
    shutil.rmtree(undrawn_campaign / stage)
    html = make_page(Campaign(undrawn_campaign, TARGETS, CONFIGURATION))
    assert html.count("This stage has left no results yet") == 1
    assert f"<code>snakemake --cores all {stage}</code> makes them" in html


def test_candidates_that_do_not_hold_together_have_their_reason(campaign_folder):
    text = Page(make_page(Campaign(campaign_folder, TARGETS, CONFIGURATION))).text
    assert "3 of 4 candidates held together when relaxed with a force field" in text
    assert "Candidates that the force field turned away" in text
    assert "layers come apart: gap 6.4 Å" in text


def test_broken_files_are_named_and_cost_nothing_else(campaign_folder):
    write_text(campaign_folder / "screening/ranked.parquet", "not a table")
    write_text(campaign_folder / "gnn/metrics.json", "{")
    write_text(campaign_folder / "dft/slot_0/bands.json", '{"k_distance": [0, 1]}')
    write_text(campaign_folder / "clustering/drivers.csv", "target,descriptor\n1,2\n")
    write_text(campaign_folder / "gvae/history.csv", "epoch,validation_loss\none,low\n")
    html = make_page(Campaign(campaign_folder, TARGETS, CONFIGURATION))
    text = Page(html).text
    assert "Files that could not be used" in text
    faulty = ("screening/ranked.parquet", "gnn/metrics.json", "clustering/drivers.csv")
    for path in (*faulty, "dft/slot_0"):
        assert f"<code>{path}</code>" in html, path
    assert "The files in gvae/ could not all be understood" in text
    assert "1.24\u202feV" in text


def test_files_of_failed_calculations_may_be_empty(campaign_folder):
    """The DFT stage leaves empty files where a step ended without a result."""
    slot = campaign_folder / "dft/slot_2"
    write_text(slot / "bands.json", "{}")
    write_text(slot / "relaxed.extxyz", "")
    write_text(slot / "relaxed.cif", "")
    candidate = Campaign(campaign_folder, TARGETS).candidates[-1]
    assert (candidate.atoms, candidate.bands, candidate.cif) == (None, None, None)
    assert candidate.reason == "SCF not converged after 5 attempts"


def test_long_tables_are_cut_and_say_so():
    frame = pd.DataFrame({"formula": "MoS2", "gap_ev": np.linspace(0, 3, 2001)})
    table = make_table(frame, "many", "Many", "screening/ranked.parquet")
    assert len(table.rows) == 2000
    assert table.note.replace("\u202f", " ") == (
        "First 2 000 of 2 001 rows; all of them in `screening/ranked.parquet`."
    )
    assert table.rows[0] == [("MoS₂", "MoS2"), ("0.00", "0.0")]


def test_shortlist_says_why_and_what_speaks_against(html):
    (item,) = re.findall(r'<ol class="shortlist">(.*?)</ol>', html, re.DOTALL)
    text = Page(item).text.replace("\u202f", " ")
    assert item.count("<h3>") == 1  # the only one that meets all targets
    assert "band gap 1.24 eV (0.24 eV inside the window)" in text
    assert "binding less strain 16.4 meV/Å², the most of the 2 verified" in text
    assert "Mo, W: spin–orbit" in text or "Mo and W: spin–orbit" in text


def page_words(folder, configuration=CONFIGURATION) -> str:
    html = make_page(Campaign(folder, TARGETS, configuration), libraries="nowhere")
    return Page(html).text.replace("\u202f", " ")


def test_stackings_of_one_pair_are_recommended_once(undrawn_campaign):
    """Slot 1 becomes slot 0 with another registry."""
    first, second = (undrawn_campaign / f"dft/slot_{n}/result.json" for n in (0, 1))
    record = read_json(first)
    specification = json.loads(json.dumps(record["specification"]))
    specification["interfaces"][0]["offset"] = [0.0, 0.0]
    write_json(second, {**record, "slot": 1, "specification": specification})
    rows = read_table(undrawn_campaign / "dft/results.parquet")
    rows["gap_ev"] = [1.24, 1.31]
    write_table(undrawn_campaign / "dft/results.parquet", rows)
    text = page_words(undrawn_campaign)
    assert "2 stacks meet all targets; they are 1 material to grow" in text
    assert "Other stackings: slot 1 (stacking AA), bound by 1.7 meV/Å² less" in text


def test_a_short_list_says_what_makes_it_longer(undrawn_campaign):
    text = page_words(undrawn_campaign)
    assert "No more than 1 material can be recommended. For more: larger cells" in text
    path = undrawn_campaign / "screening/ranked.parquet"
    ranked = read_table(path)
    pairs = [f"A|{i % 7}" for i in range(len(ranked))]
    # The last one is likely, but would get no slot before the others are used up.
    chances = [{6: 0.6, 5: 0.2}.get(i % 7, 0.9) for i in range(len(ranked))]
    write_table(path, ranked.assign(pair=pairs, probability=chances))
    told = "The ranking has 5 combinations of layers that more likely than not meet all targets, "
    told += "about as probably as the best; 2 came through DFT. For more: more slots (dft.slots, "
    assert told + "now 4)." in page_words(undrawn_campaign)


def test_energies_against_vacuum_name_the_face(html):
    text = Page(html).text.replace("\u202f", " ")
    # Step of 0.063 eV, the top face above the bottom one; both edges against the mean.
    assert "mean of both faces; 5.53 eV through the top one, 5.47 eV through the bottom" in text
    assert "mean of both faces; 4.29 eV through the top one, 4.23 eV through the bottom" in text


def test_an_undetermined_alignment_says_why(undrawn_campaign):
    path = undrawn_campaign / "dft/results.parquet"
    rows = read_table(path).assign(alignment="undetermined", vbm_layer_weights="[0.5, 0.5]")
    write_table(path, rows)
    text = page_words(undrawn_campaign)
    assert "lies 50 % on MoS₂ and 50 % on WS₂; 65 % on one layer would decide" in text


def test_coverage_says_what_it_was_counted_on(html):
    text = Page(html).text.replace("\u202f", " ")
    assert "share of those inside their ±, which was fitted without the pair" in text
    assert "inside the 68 % interval, width fitted without the pair" in text


def test_the_calibration_plot_says_that_it_flatters(finished_campaign, tmp_path):
    folder = shutil.copytree(finished_campaign / "gnn", tmp_path / "gnn").parent
    table = read_table(folder / "gnn/test_predictions.parquet")
    table = table.assign(true=table["dft"], predicted=table["network"], std=0.1)
    write_table(folder / "gnn/test_predictions.parquet", table)
    text = Page(make_page(Campaign(folder, TARGETS), libraries="nowhere")).text
    assert "widths, which were fitted to these same values" in text


def test_revision_is_that_of_the_campaign_not_of_the_page(undrawn_campaign):
    made_by = {"heteroforge": "0.0.9", "revision": "0123456789ab", "python": "3.11", "packages": {}}
    write_json(undrawn_campaign / "provenance.json", made_by)
    text = page_words(undrawn_campaign)
    assert "heteroforge0.0.9" in text and "revision0123456789ab" in text


def test_no_candidate_is_recommended_that_misses_a_target(undrawn_campaign):
    html = make_page(Campaign(undrawn_campaign, {"gap_ev": [2.0, 3.0]}), libraries="nowhere")
    assert 'class="shortlist"' not in html
    assert "Nearest: MoS₂ / WS₂, outside in band gap." in html


def test_input_of_pw_x_names_no_folder_of_the_machine(campaign_folder):
    scf = "&CONTROL\n   pseudo_dir       = '/home/someone/upf'\n/\n"
    write_text(campaign_folder / "dft/slot_0/scf/scf.in", scf)
    links = Page(make_page(Campaign(campaign_folder, TARGETS), libraries="nowhere")).all("a")
    (address,) = [a["href"] for a in links if a.get("download", "").endswith(".scf.in")]
    text = base64.b64decode(address.split(",", 1)[1]).decode()
    assert "pseudo_dir       = './pseudo'" in text and "someone" not in text


def test_page_without_libraries_offers_nothing_that_cannot_work(html):
    assert 'class="turn" data-scene="slot-0-scene" hidden' in html
    assert "dataTables" not in html


@pytest.mark.parametrize("ratio", [1.13, 1.5])
def test_what_bonds_is_for_the_next_campaign_to_learn_from(ratio):
    found = candidate(3, closest_contact_ratio=ratio)
    campaign = SimpleNamespace(
        empty_slots_words="",
        candidates=[found],
        verified=[found],
        name="demo",
        configuration={},
    )
    told = "\n".join(_advice(campaign, []))
    assert ("slot 3 the layers are as near as bonded" in told) == (ratio < 1.2)
