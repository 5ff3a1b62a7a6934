"""Copies of the project in which campaigns of tests run, small and with fast, rough DFT."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import yaml

from heteroforge.sources import Library, read_library
from heteroforge.structures import Stack

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("Snakefile", "config", "envs", "slurm", "workflow")

# Numbers of `rough` mean nothing; every step of a verification runs in seconds. Those of `coarse`
# are of the right size: `test_campaign.py` says within which bounds.
PROTOCOLS = """
coarse:
  description: a verification in a minute or two, for tests of the workflow
  cutoff_ry: {pseudodojo: 40, sg15: 40}
  k_spacing_per_a: 0.6
  smearing_ry: 0.002
  density_convergence_ry_atom: 1.0e-7
  force_convergence_ev_a: 0.05
  energy_convergence_ev: 0.005
  path_density_per_a: 4
rough:
  description: every step in seconds, for tests of the workflow
  cutoff_ry: {pseudodojo: 22, sg15: 22}
  k_spacing_per_a: 1.3
  smearing_ry: 0.01
  density_convergence_ry_atom: 1.0e-6
  force_convergence_ev_a: 0.2
  energy_convergence_ev: 0.02
  path_density_per_a: 2
"""
# Boron nitride and graphene, so few epochs and samples that a campaign takes a minute or two.
SMALLEST = {
    "campaign": "small",
    "library": {
        "maximum_atoms": 4,
        "elements_allowed": ["B", "C", "H", "N"],
    },
    "gvae": {"latent_dimensions": 6, "epochs": 4, "batch_size": 16, "conditional_steps": 30},
    "gnn": {"members": 2, "epochs": 2, "batch_size": 16},
    "samples": {"number": 40, "shards": 2},
    "targets": {"gap_ev": [0.5, 6.0]},
    # So few layers give hardly a stack of two materials with a gap, or of four atoms.
    "screening": {"maximum_atoms": 8, "minimum_materials": 1},
    "dft": {"slots": 2, "protocol": "rough"},
}


def copy_project(folder: Path, overlay: dict | None = None) -> Path:
    """The project without results; what the set-up downloaded is linked.

    Args:
        folder: where to, made if needed.
        overlay: written as `config/campaigns/test.yaml`; its protocol may be `coarse` or `rough`.
    """
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / name)
    (folder / "resources").mkdir()
    for source in (ROOT / "resources").iterdir():
        (folder / "resources" / source.name).symlink_to(source)
    with (folder / "workflow" / "heteroforge" / "dft" / "protocols.yaml").open("a") as handle:
        handle.write(PROTOCOLS)
    (folder / "config" / "campaigns" / "test.yaml").write_text(yaml.safe_dump(overlay or SMALLEST))
    return folder


def bundled_library() -> Library:
    folder = ROOT / "resources" / "library"
    return read_library(folder / "monolayers.extxyz", folder / "monolayers.csv")


def select(project: Path, stacks: Sequence[Stack]) -> Path:
    """Write what library and screen would have written: the stacks, one per slot.

    Returns the table of the selected.
    """
    folder = project / "results" / SMALLEST["campaign"]
    for stage in ("library", "screening"):
        (folder / stage).mkdir(parents=True)
    structures = ROOT / "resources" / "library" / "monolayers.extxyz"
    shutil.copy(structures, folder / "library" / "monolayers.extxyz")
    table = bundled_library().table.reset_index()
    table.to_parquet(folder / "library" / "monolayers.parquet", index=False)
    rows = [
        {
            "slot": slot,
            "stack_id": stack.key(),
            "specification": stack.to_json(),
            "number_of_atoms": stack.number_of_atoms,
        }
        for slot, stack in enumerate(stacks)
    ]
    selected = folder / "screening" / "selected.csv"
    pd.DataFrame(rows).to_csv(selected, index=False)
    return selected


def snakemake(*arguments: str) -> list[str]:
    """Command line; targets come after the configuration."""
    return [sys.executable, "-m", "snakemake", *arguments]


def environment() -> dict[str, str]:
    """That of this process, in which a copy finds its own library and not that of this one."""
    found = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return {**found, "OMP_NUM_THREADS": "1", "DGLBACKEND": "pytorch"}


def run(project: Path, *arguments: str, timeout_s: float = 1500) -> subprocess.CompletedProcess:
    """Run Snakemake in a project and wait for it; both output streams are in `stdout`."""
    return subprocess.run(
        snakemake(*arguments),
        cwd=project,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout_s,
        env=environment(),
    )
