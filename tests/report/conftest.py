"""Campaigns on disk for the tests of the report."""

import shutil

import pytest
from campaign_files import write_campaign


@pytest.fixture(scope="session")
def finished_campaign(tmp_path_factory):
    """Not to be changed: shared by all tests."""
    return write_campaign(tmp_path_factory.mktemp("shared") / "results/demo")


@pytest.fixture
def campaign_folder(finished_campaign, tmp_path):
    """A copy of the finished campaign for tests that take something away."""
    return shutil.copytree(finished_campaign, tmp_path / "results/demo")


@pytest.fixture
def undrawn_campaign(campaign_folder):
    """Without structures and bands, whose pictures take most of the time."""
    for path in campaign_folder.glob("dft/slot_*/*"):
        if path.name != "result.json":
            path.unlink()
    return campaign_folder
