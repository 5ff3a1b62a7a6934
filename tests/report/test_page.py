"""The report page: complete, self-contained, honest about what is missing."""

import base64
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from campaign_files import CONFIGURATION, HOSTILE, TARGETS, write_campaign

from heteroforge.io import write_text
from heteroforge.report import Campaign, make_page, write_report

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
    return make_page(Campaign(finished_campaign, TARGETS, CONFIGURATION))


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
    assert "1 of 3 stacks given to DFT lies inside all targets" in text
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
        "6.7MaX",
        "GNN is used, off by 0.113 eV in the mean (physics baseline 0.236 eV, mean 0.441 eV)",
        "66 % of the held-out values lie within its 68 % interval",
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
    assert "0 of 3 stacks given to DFT lie inside" in make_page(campaign)


def test_every_id_is_unique(html):
    ids = [attributes["id"] for _, attributes in Page(html).elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    anchors = {a["href"][1:] for a in Page(html).all("a") if a.get("href", "").startswith("#")}
    assert anchors <= set(ids)


def test_pictures_have_words(html):
    page = Page(html)
    assert all(image.get("alt") for image in page.all("img"))
    drawings = page.all("svg")
    assert len(drawings) >= 10
    assert all(svg.get("aria-label") for svg in drawings)


def test_pictures_of_stages_follow_the_page(html):
    """A stage's own SVG is drawn inline in the colours of the page, not as a white image."""
    assert 'id="labels-baseline-and-dft-figure_1"' in html
    assert "#1c2128" not in html.split("</style>", 1)[1]


def test_downloads_hold_the_structure(html):
    links = {a["download"]: a["href"] for a in Page(html).all("a") if "download" in a}
    assert set(links) >= {"MoS2-WS2_slot0.cif", "MoS2-WS2_slot0.extxyz"}
    for name, address in links.items():
        text = base64.b64decode(address.split(",", 1)[1]).decode()
        assert ("_cell_length_a" if name.endswith(".cif") else "Lattice=") in text
        assert "Mo" in text


def test_markup_in_names_is_escaped(tmp_path):
    folder = write_campaign(tmp_path / "results/demo", hostile=True)
    configuration = {**CONFIGURATION, "campaign": HOSTILE}
    html = make_page(Campaign(folder, TARGETS, configuration))
    assert HOSTILE not in html
    assert html.count("<script>") == 1  # the page's own
    assert "&lt;script&gt;alert" in html


def test_secrets_are_not_shown(undrawn_campaign):
    configuration = {**CONFIGURATION, "library": {"api_key": "abc123", "token": "def456"}}
    html = make_page(Campaign(undrawn_campaign, TARGETS, configuration))
    assert "abc123" not in html and "def456" not in html
    assert "api_key: (not shown)" in html


def test_empty_campaign_says_what_to_do(tmp_path):
    write_report(tmp_path / "results/new", tmp_path / "page.html", TARGETS, CONFIGURATION)
    text = Page((tmp_path / "page.html").read_text()).text
    assert "No candidate has been verified: nothing was selected for DFT yet." in text
    assert "snakemake --cores all" in text
    assert text.count("This stage has left no results yet") == 9


def test_all_failed(campaign_folder):
    for slot in (0, 1):
        shutil.rmtree(campaign_folder / f"dft/slot_{slot}")
    (campaign_folder / "dft/results.parquet").unlink()
    html = make_page(Campaign(campaign_folder, TARGETS, CONFIGURATION))
    assert "No candidate has been verified: all 1 calculations failed." in html
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


def test_broken_files_are_named_and_cost_nothing_else(campaign_folder):
    write_text(campaign_folder / "screening/ranked.parquet", "not a table")
    write_text(campaign_folder / "gnn/metrics.json", "{")
    write_text(campaign_folder / "dft/slot_0/bands.json", '{"k_distance": [0, 1]}')
    write_text(campaign_folder / "clustering/drivers.csv", "target,descriptor\n1,2\n")
    html = make_page(Campaign(campaign_folder, TARGETS, CONFIGURATION))
    text = Page(html).text
    assert "Files that could not be used" in text
    for path in ("screening/ranked.parquet", "gnn/metrics.json", "dft/slot_0"):
        assert f"<code>{path}</code>" in html, path
    assert "could not all be understood" in text
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


def test_long_tables_are_cut_and_say_so(html):
    text = Page(html).text.replace("\u202f", " ")
    assert "First 100 of 300 rows; all of them in screening/ranked.parquet." in text


# --- in a browser -----------------------------------------------------------------------------


def _chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if shutil.which(name):
            return name
    pytest.skip("no Chromium here: apt-get install chromium")


CHECKS = """
<script>
const said = [];
const table = document.getElementById("screening-ranked");
const column = [...table.tHead.rows[0].cells].findIndex((c) => c.dataset.name === "gap_ev");
const read = () => [...table.tBodies[0].rows].map((r) => Number(r.cells[column].dataset.value));
const button = table.tHead.rows[0].cells[column].querySelector("button");
button.click();
let values = read();
said.push("up " + values.every((v, i) => i === 0 || values[i - 1] <= v));
button.click();
values = read();
said.push("down " + values.every((v, i) => i === 0 || values[i - 1] >= v));
const box = table.closest("details");
const filter = box.querySelector("input");
filter.value = "wS2 r17";
filter.dispatchEvent(new Event("input"));
said.push("left " + [...table.tBodies[0].rows].filter((r) => !r.hidden).length);
let exported = null;
URL.createObjectURL = (blob) => { exported = blob; return "data:,"; };
HTMLAnchorElement.prototype.click = function () {};
box.querySelector("[data-export]").click();
exported.text().then((csv) => {
  const lines = csv.trim().split("\\n");
  said.push("csv " + lines.length + " " + lines[0].split(",").includes("gap_ev"));
  document.documentElement.dataset.theme = "dark";
  const ground = getComputedStyle(document.body).backgroundColor;
  said.push("dark " + (Number(ground.match(/\\d+/)[0]) < 60));
  const wide = document.documentElement.scrollWidth <= document.documentElement.clientWidth;
  said.push("fits " + wide);
  document.body.innerHTML = "<pre id='said'>" + said.join("; ") + "</pre>";
});
</script>
"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [1300, 500])
def test_tables_sort_filter_and_export_in_a_browser(html, tmp_path, width):
    chromium = _chromium()
    page = tmp_path / "page.html"
    page.write_text(html.replace("</body>", CHECKS + "</body>"), encoding="utf-8")
    finished = subprocess.run(
        [
            chromium,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            f"--window-size={width},900",
            "--virtual-time-budget=4000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = re.search(r"<pre id=\"said\">(.*?)</pre>", finished.stdout)
    console = [line for line in finished.stderr.splitlines() if "CONSOLE" in line]
    assert said, console
    assert said[1] == "up true; down true; left 1; csv 2 true; dark true; fits true", console
    assert not console
