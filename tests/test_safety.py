"""What data and files of others can do to a campaign: nothing but be read."""

import contextlib
import json
import os
import pickle
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from heteroforge.io import InputError
from heteroforge.models.training import fit, load_model
from heteroforge.sources import collect, read_candidates, write_library
from heteroforge.structures import Stack, StructureError

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    *(ROOT / "workflow").rglob("*.py"), *(ROOT / "workflow").rglob("*.smk"), ROOT / "Snakefile",
]  # fmt: skip
KEY = "s3cretKey0123456789abcdef0123456"


@pytest.mark.parametrize(
    "pattern",
    [
        r"\bpickle\b",
        r"allow_pickle\s*=\s*True",
        r"weights_only\s*=\s*False",
        r"shell\s*=\s*True",
        r"os\.system\(",
        r"yaml\.(unsafe_)?load\(",
        r"(?<![.\w])(eval|exec)\(",
        r"\|\s*safe\b",
    ],
)
def test_the_code_has_no_way_to_run_what_it_reads(pattern):
    templates = (ROOT / "workflow" / "report").glob("*.j2")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in [*SOURCES, *templates]
        for line in path.read_text().splitlines()
        if re.search(pattern, line) and not line.lstrip().startswith("#")
    ]
    assert not found


def test_every_file_of_weights_is_read_as_plain_data():
    calls = [c for p in SOURCES for c in re.findall(r"torch\.load\([^\n]*", p.read_text())]
    assert calls and all("weights_only=True" in call for call in calls)


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("write", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
def test_a_model_file_with_a_program_in_it_is_refused(tmp_path, write):
    trap, file = tmp_path / "sprung", tmp_path / "model.pt"
    write({"state": Trap(trap)}, file)
    with pytest.raises(InputError, match="model.pt"):
        load_model(file)
    assert not trap.exists()


def test_a_checkpoint_with_a_program_in_it_starts_training_anew(tmp_path, capsys):
    trap, checkpoint = tmp_path / "sprung", tmp_path / "checkpoint.pt"
    torch.save({"identity": "", "model": Trap(trap)}, checkpoint)
    model = torch.nn.Linear(1, 1)
    history = fit(
        model,
        lambda epoch, generator: [torch.ones(1, 1)],
        lambda batch, epoch: (model(batch).square().sum(), {}),
        lambda epoch: {"validation_loss": 0.0},
        epochs=1,
        learning_rate=0.1,
        seed=1,
        checkpoint=checkpoint,
    )
    assert len(history.rows) == 1
    assert "starting anew" in capsys.readouterr().err
    assert not trap.exists()


HOSTILE_NAMES = ["$(touch sprung)", "; touch sprung;", "-rf", "'\"`touch sprung`", "a b\tc"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_of_files_and_materials_stay_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "source"
    source.mkdir()
    frame = (ROOT / "resources" / "library" / "monolayers.extxyz").read_text().splitlines()[:4]
    frame[1] = re.sub(r'(monolayer_id|name)=("[^"]*"|\S+)', r'\1="../../../escaped"', frame[1])
    (source / f"{name}.extxyz").write_text("\n".join(frame) + "\n")
    library, rejected = collect(
        read_candidates(["folder"], [source], {}, tmp_path / "cache"),
        maximum_atoms=6,
        elements_excluded=[],
        elements_available={"C", "B", "N"},
    )
    assert len(library) + len(rejected) == 1
    write_library(tmp_path / "out" / "m.extxyz", tmp_path / "out" / "m.parquet", library)
    made = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert made == {f"source/{name}.extxyz", "out/m.extxyz", "out/m.parquet"}
    assert not (tmp_path.parent / "escaped").exists()


@pytest.mark.parametrize("species", ["../../C", "C\n/\n&control", "$(touch x)", "", "Qq"])
def test_species_that_are_no_elements_reach_no_file_name_and_no_input(small_matches, species):
    layer = {
        "species": [species], "positions": [[0, 0]], "heights": [0.0], "a": 2.5, "b": 2.5,
        "gamma_deg": 120.0,
    }  # fmt: skip
    text = json.dumps(
        {
            "layers": [{"monolayer": layer}],
            "interfaces": [],
            "a": 2.5,
            "b": 2.5,
            "gamma_deg": 120.0,
        }
    )
    with pytest.raises((StructureError, ValueError)):
        Stack.from_json(text)


def command_lines() -> bytes:
    found = b""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found += path.read_bytes()
    return found


@pytest.fixture
def refusing_service():
    """A service that answers 403, and notes which requests came and what ran at the time."""
    seen = {"keys": [], "command_lines": b""}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen["keys"].append(self.headers.get("x-api-key"))
            seen["command_lines"] += command_lines()
            if "heartbeat" in self.path:
                self.send_response(200)
                self.end_headers()
                heartbeat = {"status": "OK", "db_version": "1", "version": "1"}
                heartbeat["access_controlled_batch_ids"] = []
                self.wfile.write(json.dumps(heartbeat).encode())
            else:
                self.send_response(403)
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    seen["address"] = f"http://127.0.0.1:{server.server_port}/"
    yield seen
    server.shutdown()


def test_the_key_of_a_source_is_written_nowhere(tmp_path, refusing_service):
    """A campaign with the Materials Project, which refuses the key."""
    for name in ("Snakefile", "config", "envs", "workflow", "resources"):
        (tmp_path / name).symlink_to(ROOT / name)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("campaign: secret\nlibrary: {source: materials_project}\n")
    finished = subprocess.run(
        [sys.executable, "-m", "snakemake", "--cores", "1", "--verbose", "--printshellcmds",
         "results/secret/library/monolayers.parquet", "--configfile", str(overlay)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "MP_API_KEY": KEY, "MP_API_ENDPOINT": refusing_service["address"]},
    )  # fmt: skip
    assert finished.returncode != 0
    told = finished.stdout + finished.stderr
    assert "error: " in told and "Materials Project" in told, told[-2000:]
    assert KEY in refusing_service["keys"]
    assert KEY not in told
    assert b"build_library" in refusing_service["command_lines"]
    assert KEY.encode() not in refusing_service["command_lines"]
    files = [p for p in tmp_path.rglob("*") if p.is_file() and not p.is_symlink()]
    assert any(p.name == "build_library.log" for p in files)
    assert not [p for p in files if KEY.encode() in p.read_bytes()]
