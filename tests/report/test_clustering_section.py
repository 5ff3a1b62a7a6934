"""What the page says of clustering: the question, its answer, and where evidence is too thin."""

import pytest
from campaign_files import CONFIGURATION, TARGETS

from heteroforge.io import read_table, write_table
from heteroforge.report.campaign import Campaign
from heteroforge.report.clustering import clustering_paragraphs, clustering_tables
from heteroforge.report.words import chemical_formula

WORKS = {"clustering": {"works": {"gap_ev": [1.5, 2.5], "mobility_cm2_vs": [100, None]}}}


def campaign(folder) -> Campaign:
    return Campaign(folder, TARGETS, CONFIGURATION | WORKS)


def table(folder, identifier: str) -> list[list[str]]:
    (found,) = (t for t in clustering_tables(campaign(folder)) if t.identifier == identifier)
    return [[text for text, _ in row] for row in found.rows]


def test_paragraphs_say_what_is_asked_and_what_decides(finished_campaign):
    text = "\n".join(clustering_paragraphs(campaign(finished_campaign)))
    assert "band gap between 1.5 and 2.5\u202feV and mobility (upper estimate) at least 100" in text
    assert "Of 4 monolayers 2 meet this and 1 do not; of 1 too little is known." in text
    assert "electronegativity spread (raises it)" in text and "thickness" not in text
    # The first driver of the gap is clear of chance by its interval, that of the binding is not.
    assert "50\u202f% of its spread on formulas not seen (clear" in text
    assert "22 monolayers, all descriptors together explain 30\u202f%" in text and "(a hint" in text


def test_paragraphs_say_where_evidence_is_too_thin(finished_campaign):
    text = "\n".join(clustering_paragraphs(campaign(finished_campaign)))
    assert "the mobility (upper estimate) (nothing stands out from chance among 11)" in text
    assert "too few known values: 4, at least 8 needed" in text
    assert "contradicts the field for 2H-MoSe₂" in text and "weak check" in text
    assert "They tell nothing of mobility (upper estimate): do not choose by them." in text
    assert "Too little is known to ask them for having a gap and binding energy." in text


def test_tables_are_short_and_in_words(finished_campaign):
    first, *_ = table(finished_campaign, "clustering-cards")
    assert first[:4] == ["0", "2", "2 of 2", "1.71 (2)"]
    assert "row in the periodic table, spread −0.8 σ" in first[-2]
    assert table(finished_campaign, "clustering-cards")[-1][0] == "none"
    known = table(finished_campaign, "clustering-known")
    assert [row[0] for row in known] == ["2H-MoS₂", "2H-MoSe₂"] and known[1][-1] == "not good ✗"
    validity = table(finished_campaign, "clustering-validity")
    assert len(validity) == 4  # settings not chosen are in the file
    assert validity[0][:4] == ["HDBSCAN (at least 2, eom), chosen", "2", "75\u202f%", "0.81"]
    compared = table(finished_campaign, "clustering-compared")
    assert compared[0][1:3] == ["1.71 (1.68 to 1.73)", "2"]


@pytest.mark.parametrize("name", ["cards", "known", "validity", "drivers"])
def test_a_file_that_is_not_there_costs_its_own_part_only(campaign_folder, name):
    whole = clustering_tables(campaign(campaign_folder))
    (campaign_folder / f"clustering/{name}.csv").unlink()
    left = clustering_tables(campaign(campaign_folder))
    assert 1 <= len(whole) - len(left) <= 2
    assert clustering_paragraphs(campaign(campaign_folder))


def test_a_library_without_clusters_is_told(campaign_folder):
    clusters = read_table(campaign_folder / "clustering/clusters.csv").assign(cluster=-1)
    write_table(campaign_folder / "clustering/clusters.csv", clusters)
    validity = read_table(campaign_folder / "clustering/validity.csv").iloc[:0]
    write_table(campaign_folder / "clustering/validity.csv", validity)
    text = clustering_paragraphs(campaign(campaign_folder))[-1]
    assert "No grouping was valid enough" in text


def test_formulas_are_written_as_chemists_write_them():
    assert [chemical_formula(f) for f in ("AlN/CSi", "HSi", "CH", "MoS2", "BP", "number 1")] == [
        "AlN/SiC", "SiH", "CH", "MoS2", "BP", "number 1"
    ]  # fmt: skip
