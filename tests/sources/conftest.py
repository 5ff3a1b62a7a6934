"""Where the published tables are."""

from pathlib import Path

import pytest

REFERENCE_DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="session")
def reference_data() -> Path:
    """Folder of published tables; tests that need it are skipped where it is absent."""
    if not REFERENCE_DATA.is_dir():
        pytest.skip("the published tables are not beside the project (../shared/data)")
    return REFERENCE_DATA
