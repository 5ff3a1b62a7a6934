"""The report in a real Chromium: it opens in silence, asks for nothing, and its controls work.

Twenty candidates and two thousand screened stacks, the size of a campaign on a small cluster.
"""

import csv
import io
import shutil
from contextlib import contextmanager

import ase.io
import numpy as np
import pandas as pd
import pytest
from campaign_files import CONFIGURATION, TARGETS, write_campaign

from heteroforge.io import read_json, read_table, write_json, write_table
from heteroforge.report.page import LIBRARIES, SCRIPTS, STYLES, write_report

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

expect = sync_api.expect
NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium"),
    pytest.mark.skipif(
        not all((LIBRARIES / name).is_file() for name in (*SCRIPTS, *STYLES)),
        reason="the page's libraries are not here: python workflow/setup/install_page_libraries.py",
    ),
]
CANDIDATES, SCREENED = 20, 2000
LARGEST_PAGE_BYTES = 15_000_000


def write_large_campaign(folder, candidates):
    """The small campaign with its ranking and its first slot repeated."""
    write_campaign(folder)
    ranked = read_table(folder / "screening/ranked.parquet")
    many = pd.concat([ranked] * (SCREENED // len(ranked) + 1), ignore_index=True).head(SCREENED)
    rng = np.random.default_rng(3)
    many["rank"] = np.arange(1, SCREENED + 1)
    many["gap_ev"] = rng.normal(1.2, 0.5, SCREENED).round(4)
    many["layers"] = [f"MoS2/WS2 number {i}" for i in range(SCREENED)]
    write_table(folder / "screening/ranked.parquet", many)
    rows = read_table(folder / "dft/results.parquet")
    record = read_json(folder / "dft/slot_0/result.json")
    first = rows.iloc[[0]]
    # Of three pairs of layers, as otherwise all were one material.
    pairs = [read_json(folder / f"dft/slot_{n}/result.json")["specification"] for n in range(3)]
    for slot in range(3, candidates + 1):
        shutil.copytree(folder / "dft/slot_0", folder / f"dft/slot_{slot}")
        new = {"slot": slot, "specification": pairs[slot % 3]}
        write_json(folder / f"dft/slot_{slot}/result.json", {**record, **new})
        rows = pd.concat([rows, first.assign(slot=slot)], ignore_index=True)
    write_table(folder / "dft/results.parquet", rows)
    return folder


def write_page(folder, candidates):
    write_large_campaign(folder / "results/demo", candidates)
    page_file = folder / "results/demo/report/index.html"
    write_report(folder / "results/demo", page_file, TARGETS, CONFIGURATION)
    return page_file


@pytest.fixture(scope="module")
def large_file(tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("large"), CANDIDATES)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    """With few candidates, whose pictures take most of the time."""
    return write_page(tmp_path_factory.mktemp("light"), 2)


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        # Software rendering: machines that test have no graphics card.
        arguments = ["--enable-unsafe-swiftshader"]
        with playwright.chromium.launch(executable_path=CHROMIUM, args=arguments) as started:
            yield started


@contextmanager
def opened(browser, page_file):
    """The page in a window of its own; in the end: no error, and nothing asked for but the page."""
    with browser.new_context(viewport={"width": 1300, "height": 900}) as context:
        page = context.new_page()
        said, asked = listen(page)
        page.goto(page_file.as_uri())
        yield page
        assert (said, asked) == ([], [page_file.as_uri()])


@pytest.fixture
def page(browser, page_file):
    with opened(browser, page_file) as page:
        yield page


def listen(page) -> tuple[list[str], list[str]]:
    """Errors on the console, and addresses asked for, from now on."""
    said, asked = [], []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda line: said.append(line.text) if line.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url) if outside(request.url) else None)
    return said, asked


def outside(address: str) -> bool:
    return not address.startswith(("data:", "blob:"))


def open_ranking(page):
    page.locator("details.data", has=page.locator("#screening-ranked")).locator("summary").click()
    page.wait_for_selector("#screening-ranked_wrapper")
    return page.locator("#screening-ranked_wrapper")


def column(page, name: str) -> list[str]:
    """Plain values of a column's rows on show."""
    return page.evaluate(
        """(name) => {
            const table = document.getElementById("screening-ranked");
            const heads = [...table.tHead.querySelectorAll("th")];
            const place = heads.findIndex((head) => head.dataset.name === name);
            return [...table.tBodies[0].rows].map((row) => row.cells[place].dataset.order);
        }""",
        name,
    )


@pytest.mark.slow
def test_many_candidates_and_their_structures(browser, large_file):
    """The picture changes on arrow keys, and the view works for one candidate after another."""
    assert large_file.stat().st_size < LARGEST_PAGE_BYTES
    with opened(browser, large_file) as page:
        assert page.locator("article.card").count() == CANDIDATES
        assert page.locator("ol.shortlist > li").count() == 3
        for number in (0, CANDIDATES - 1):
            page.locator("button.turn").nth(number).click()
            scene = page.locator("#scene")
            assert scene.is_visible()
            before = scene.screenshot()
            scene.focus()
            for _ in range(3):
                page.keyboard.press("ArrowRight")
            page.wait_for_timeout(200)
            assert scene.screenshot() != before
            page.keyboard.press("Escape")
            assert not scene.is_visible()


def test_tables_sort_and_filter(page):
    table = open_ranking(page)
    expect(table).to_contain_text(f"of {SCREENED:,} entries")
    head = table.locator("th[data-name=gap_ev]")
    head.locator(".dt-column-title").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    first = [float(v) for v in column(page, "gap_ev")]
    assert first == sorted(first) and len(first) == 12
    head.locator(".dt-column-order").focus()
    page.keyboard.press("Enter")  # by keyboard as well
    expect(head).to_have_attribute("aria-sort", "descending")
    last = [float(v) for v in column(page, "gap_ev")]
    assert last == sorted(last, reverse=True) and last[0] > first[-1]
    table.locator("input[type=search]").first.fill("number 1234")
    expect(table).to_contain_text("Showing 1 to 1 of 1 entry")
    assert column(page, "rank") == ["1235.0"]


def test_columns_filter_by_value(page):
    table = open_ranking(page)
    head = table.locator("th[data-name=rank]")
    head.get_by_role("button", name="Search").click()
    box = page.locator(".dtcc-dropdown:visible")
    box.locator("select").select_option(label="Less or equal")
    box.locator("input").fill("7")
    expect(table).to_contain_text("of 7 entries")


def test_table_is_saved_with_plain_values(page):
    table = open_ranking(page)
    table.locator("input[type=search]").first.fill('"number 12"')
    # 12, 120 to 129, 1200 to 1299
    expect(table).to_contain_text("of 111 entries")
    with page.expect_download() as waiting:
        table.get_by_role("button", name="Save as CSV").click()
    assert waiting.value.suggested_filename == "screening-ranked.csv"
    rows = list(csv.DictReader(io.StringIO(waiting.value.path().read_text("utf-8-sig"))))
    assert len(rows) == 111
    assert {"rank", "layers", "gap_ev", "gap_ev_std"} <= set(rows[0])
    assert rows[0]["layers"] == "MoS2/WS2 number 12" and float(rows[0]["rank"]) == 13


def test_candidates_side_by_side_are_saved(page):
    """In one piece, in the order of the quantities, with both numbers of a prediction."""
    table = page.locator("#candidates-compared_wrapper")
    assert table.locator("tbody tr").count() > 12
    with page.expect_download() as waiting:
        table.get_by_role("button", name="Save as CSV").click()
    rows = list(csv.DictReader(io.StringIO(waiting.value.path().read_text("utf-8-sig"))))
    assert list(rows[0]) == ["quantity", "from", "slot_0", "slot_1"]
    gaps = {row["from"]: row for row in rows if row["quantity"] == "band gap (eV)"}
    assert float(gaps["DFT"]["slot_0"]) == 1.24
    assert gaps["predicted"]["slot_0"] == "1.31 ± 0.11"
    head = table.locator("th[data-name=quantity]")
    head.locator(".dt-column-title").click()
    first = table.locator("tbody tr td").first
    expect(first).to_have_text("alignment")


def test_structures_are_saved(page):
    for kind, file_format in (("CIF", "cif"), ("extended XYZ", "extxyz")):
        with page.expect_download() as waiting:
            page.locator("article.card a", has_text=kind).first.click()
        atoms = ase.io.read(waiting.value.path(), format=file_format)
        assert sorted(atoms.get_chemical_symbols()) == ["Mo", "S", "S", "S", "S", "W"]


@pytest.mark.parametrize("width", [420, 1300])
def test_nothing_is_wider_than_the_window(browser, page_file, width):
    with browser.new_context(viewport={"width": width, "height": 900}) as context:
        page = context.new_page()
        page.goto(page_file.as_uri())
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width


def test_dark_follows_the_system_and_the_button(browser, page_file):
    def ground(page) -> int:
        return int(
            page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
        )

    with browser.new_context(color_scheme="dark") as context:
        page = context.new_page()
        page.goto(page_file.as_uri())
        assert ground(page) < 60
        page.get_by_role("button", name="Dark or light").click()
        assert ground(page) > 200


def test_paper_holds_the_answer_and_no_controls(page):
    page.emulate_media(media="print")
    assert page.locator("ol.shortlist").is_visible()
    assert not page.locator("button.turn").first.is_visible()
    assert not page.locator("#screening-ranked").is_visible()  # folded away: the file has it
    assert page.pdf().startswith(b"%PDF")


def test_all_is_there_without_scripts(browser, page_file):
    with browser.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(page_file.as_uri())
        page.locator("summary", has_text="Ranking").click()
        assert page.locator("#screening-ranked tbody tr").count() == SCREENED
        assert not page.locator("button.turn").first.is_visible()
        assert page.locator("article.card a", has_text="CIF").first.is_visible()


def test_page_of_an_empty_campaign_opens_in_silence(browser, tmp_path):
    path = tmp_path / "interim.html"
    write_report(tmp_path / "results/new", path, TARGETS, CONFIGURATION)
    with opened(browser, path) as page:
        assert "No candidate has been verified" in page.locator("h1").inner_text()
