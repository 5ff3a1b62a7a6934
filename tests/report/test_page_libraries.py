"""Set-up of the page's JavaScript: what is damaged is noticed, what is another file is refused."""

import importlib.util
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "workflow" / "setup" / "install_page_libraries.py"


@pytest.fixture(scope="module")
def setup():
    specification = importlib.util.spec_from_file_location("install_page_libraries", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """An npm whose packages hold one file, `tool.js` with the text "good"."""
    with tarfile.open(tmp_path / "tool-1.0.0.tgz", "w:gz") as archive:
        member = tarfile.TarInfo("package/tool.js")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"good"))
    program = tmp_path / "bin/npm"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncp {tmp_path}/tool-1.0.0.tgz .\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")


def row(checksum: str) -> dict[str, str]:
    return {"package": "tool", "version": "1.0.0", "licence": "MIT", "member": "tool.js",
            "file": "tool.js", "sha256": checksum}  # fmt: skip


GOOD = "770e607624d689265ca6c44884d0807d9b054d23c473c106c72be9de08b7376c"


def test_a_file_is_fetched_verified_and_found_damaged(setup, npm, tmp_path):
    folder = tmp_path / "libraries"
    rows = [row(GOOD)]
    assert setup.find_problems(folder, rows) == {"tool.js": "missing"}
    setup.fetch(rows, folder)
    assert setup.find_problems(folder, rows) == {}
    (folder / "tool.js").write_text("bad")
    assert "checksum" in setup.find_problems(folder, rows)["tool.js"]


def test_another_file_is_not_written(setup, npm, tmp_path):
    with pytest.raises(setup.SetupError, match="not written"):
        setup.fetch([row("0" * 64)], tmp_path / "libraries")
    assert not (tmp_path / "libraries/tool.js").exists()


def test_a_set_up_without_the_registry_says_so_and_goes_on(tmp_path):
    """The page does without; a campaign must not stop for it."""
    copy = tmp_path / "workflow/setup" / SCRIPT.name
    copy.parent.mkdir(parents=True)
    copy.write_text(SCRIPT.read_text())
    (tmp_path / "resources").mkdir()
    table = "package,version,licence,member,file,sha256\ntool,1.0.0,MIT,tool.js,tool.js,00\n"
    (tmp_path / "resources/page_libraries.csv").write_text(table)
    program = tmp_path / "bin/npm"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho no network >&2; exit 1\n")
    program.chmod(0o755)
    finished = subprocess.run(
        [sys.executable, str(copy)], capture_output=True, text=True,
        env={**os.environ, "PATH": f"{program.parent}:/usr/bin:/bin"},
    )  # fmt: skip
    assert finished.returncode == 0
    assert "no network" in finished.stderr and "no 3D view" in finished.stderr


def test_every_library_the_page_asks_for_is_in_the_table(setup):
    from heteroforge.report.page import SCRIPTS, STYLES

    rows = setup.read_table()
    assert {r["file"] for r in rows} == {*SCRIPTS, *STYLES, "3Dmol.LICENSE.txt"}
    assert all(r["licence"] in ("MIT", "BSD-3-Clause") for r in rows)
