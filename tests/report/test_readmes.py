"""READMEs of the stages' folders."""

import pytest
from campaign_files import CONFIGURATION, TARGETS

from heteroforge.report.campaign import Campaign
from heteroforge.report.readmes import stage_readme
from heteroforge.report.sections import STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_describes_itself(finished_campaign, stage):
    text = stage_readme(Campaign(finished_campaign, TARGETS, CONFIGURATION), stage)
    assert text.startswith(f"# {STAGES[stage][0]}\n")
    for path in (finished_campaign / stage).glob("*.csv"):
        assert f"| `{path.name}` |" in text
    for path in (finished_campaign / stage).glob("*.png"):
        assert f"]({path.name})" in text


def test_numbers_are_those_of_the_files(finished_campaign):
    text = stage_readme(Campaign(finished_campaign, TARGETS, CONFIGURATION), "screening")
    assert "300 stacks ranked" in text
    assert "| `ranked.parquet` | 300 |" in text


def test_a_stage_without_files_says_how_to_make_them(tmp_path):
    (tmp_path / "demo/gnn").mkdir(parents=True)
    assert "snakemake --cores all gnn" in stage_readme(Campaign(tmp_path / "demo"), "gnn")
