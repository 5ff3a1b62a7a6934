"""What a campaign has on disk, complete or not."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import ase.io
import numpy as np
import pandas as pd
import pyarrow.parquet
from ase import Atoms

from heteroforge.features import facing_levels
from heteroforge.io import InputError, read_frames, read_json, read_table
from heteroforge.io.conventions import inside_window
from heteroforge.labels import LABELLED
from heteroforge.report.judgement import BONDED_CONTACT_RATIO, best_first
from heteroforge.report.words import stack_name
from heteroforge.structures import Monolayer, Stack, StructureError

__all__ = ["Campaign", "Candidate"]

# Pages hold pictures whole; a larger one is named instead.
LARGEST_PICTURE_BYTES = 700_000


@dataclass
class Candidate:
    """One DFT slot: what was predicted, what was computed.

    Attributes:
        slot: number of the slot.
        status: "verified", "failed", "pending" (selected, no result yet).
        reason: why it failed.
        predicted, computed: the slot's rows of selected.csv and results.parquet.
        result: `result.json`.
        atoms: relaxed structure, else the structure as selected, else None.
        relaxed: whether `atoms` is the relaxed structure.
        bands: `bands.json`, or None.
        states: (n, 1 + layers) of `density_of_states.csv`, or None.
        cif: text of `relaxed.cif`, or None.
        pw_input: input of pw.x for the density, with `./pseudo` for the pseudopotentials, or None.
        stack: parsed specification, or None where it cannot be read.
        target: per target its window, value and inside (None: unknown).
        bonded_below: closest contact over the sum of covalent radii, below which its layers count
            as bonded; 0: never.
    """

    slot: int
    status: str
    reason: str = ""
    predicted: dict = field(default_factory=dict)
    computed: dict = field(default_factory=dict)
    result: dict = field(default_factory=dict)
    atoms: Atoms | None = None
    relaxed: bool = False
    bands: dict | None = None
    states: np.ndarray | None = None
    cif: str | None = None
    pw_input: str | None = None
    stack: Stack | None = None
    target: dict = field(default_factory=dict)
    bonded_below: float = BONDED_CONTACT_RATIO

    @property
    def formula(self) -> str:
        for row in (self.computed, self.predicted):
            if row.get("formula"):
                return str(row["formula"])
        return self.stack.formula if self.stack is not None else f"slot {self.slot}"

    @property
    def title(self) -> str:
        """The layers by name, bottom to top; the formula where they are not known."""
        for source in (self.result, self.computed, self.predicted):
            with contextlib.suppress(KeyError, TypeError, ValueError):
                return stack_name(source["specification"])
        return self.formula

    @property
    def mismatch_percent(self) -> float | None:
        """Largest strain of a layer, of what was verified where something was."""
        verified = [layer.get("strain_percent") for layer in self.result.get("layers") or []]
        if verified and None not in verified:
            return max(verified)
        return None if self.stack is None else self.stack.mismatch_percent

    @property
    def is_exploration(self) -> bool:
        """Whether its slot was given to learn from an uncertain stack."""
        return self.predicted.get("role") == "exploration"

    @property
    def only_drawn(self) -> bool:
        """Whether it is there for the draw at random alone, and was not selected."""
        return self.predicted.get("role") == "control"

    @property
    def misses(self) -> list[str]:
        """Targets that the computed values do not meet, unknown values included."""
        return [name for name, t in self.target.items() if not t["inside"]]

    @property
    def meets_targets(self) -> bool:
        return self.status == "verified" and not self.misses


class Campaign:
    """A folder `results/<campaign>`, read file by file on demand.

    A file that is not there reads as None; one that is broken too, and is named in `faults`.

    Args:
        folder: the campaign's folder.
        targets: window [low, high] per property, or the word asked for, as of the alignment.
        configuration: as the campaign was run; empty where unknown.
    """

    def __init__(
        self,
        folder: str | Path,
        targets: Mapping[str, object] | None = None,
        configuration: Mapping | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.configuration = dict(configuration or {})
        # An overlay takes a target away by setting it to null.
        self.targets = {n: w for n, w in (targets or {}).items() if w is not None}
        self.faults: dict[str, str] = {}
        self._read: dict[str, object] = {}

    @property
    def name(self) -> str:
        return str(self.configuration.get("campaign") or self.folder.name)

    # --- files --------------------------------------------------------------------------------

    def has(self, path: str) -> bool:
        return (self.folder / path).is_file()

    def table(self, path: str) -> pd.DataFrame | None:
        """A table below the campaign's folder, or None."""
        return self._get(path, lambda full: read_table(full))

    def record(self, path: str) -> dict | None:
        """A JSON object below the campaign's folder, or None."""
        return self._get(path, _read_object)

    def columns(self, path: str, names: list[str] | None = None) -> pd.DataFrame | None:
        """Columns of a parquet file that may be too long to be read whole.

        Specifications, by far the largest column, are left out unless they are asked for.
        """
        full = self.folder / path
        if not full.is_file():
            return None
        try:
            known = pyarrow.parquet.read_schema(full).names
            wanted = [n for n in (names or known) if n in known]
            if names is None:
                wanted = [n for n in wanted if n != "specification"]
            return pd.read_parquet(full, columns=wanted)
        except Exception as error:  # pyarrow raises many types for a broken file
            self.faults[path] = f"not a readable table: {error}"
            return None

    def number_of_rows(self, path: str) -> int | None:
        """Rows of a table; of a parquet file without reading it."""
        full = self.folder / path
        if not full.is_file():
            return None
        if full.suffix != ".parquet":
            table = self.table(path)
            return None if table is None else len(table)
        try:
            return pyarrow.parquet.read_metadata(full).num_rows
        except Exception as error:  # as above
            self.faults[path] = f"not a readable table: {error}"
            return None

    def matching(self, pattern: str) -> list[str]:
        """Files below the folder that match a glob, as relative paths in order."""
        return sorted(str(p.relative_to(self.folder)) for p in self.folder.glob(pattern))

    def pictures(self, stage: str) -> list[Path]:
        """Pictures that a stage made; an SVG goes before the PNG of the same name."""
        by_stem: dict[str, Path] = {}
        for suffix in (".png", ".svg"):
            for path in sorted((self.folder / stage).glob(f"*{suffix}")):
                if path.stat().st_size <= LARGEST_PICTURE_BYTES:
                    by_stem[path.stem] = path
        return list(by_stem.values())

    def _get(self, path: str, read):
        if path not in self._read:
            value = None
            if self.has(path):
                try:
                    value = read(self.folder / path)
                except InputError as error:
                    self.faults[path] = str(error).replace(f"{self.folder}/", "")
            self._read[path] = value
        return self._read[path]

    # --- counts -------------------------------------------------------------------------------

    @cached_property
    def number_sampled(self) -> int | None:
        shards = [self.number_of_rows(p) for p in self.matching("samples/shard_*.parquet")]
        return sum(n or 0 for n in shards) if shards else None

    @cached_property
    def number_screened(self) -> int | None:
        """Samples that went through the models: ranked ones."""
        return self.number_of_rows("screening/ranked.parquet")

    @property
    def number_selected(self) -> int | None:
        """Without those that were only drawn at random, to compare with."""
        table = self.selected
        return None if table is None else len(table)

    @property
    def number_of_slots(self) -> int | None:
        """How many candidates DFT was to verify; None where the configuration does not tell."""
        return self.configuration.get("dft", {}).get("slots")

    @property
    def bonded_below(self) -> float:
        """The configured `minimum_contact_ratio`, by which the screen and the labels judge, too."""
        force_field = self.configuration.get("screening", {}).get("force_field", {})
        return force_field.get("minimum_contact_ratio", BONDED_CONTACT_RATIO)

    @property
    def selected(self) -> pd.DataFrame | None:
        """`screening/selected.csv` without the stacks that were only drawn at random."""
        table = self.table("screening/selected.csv")
        if table is None or "role" not in table:
            return table
        return table[table["role"].ne("control").fillna(True).astype(bool)]

    @cached_property
    def set_aside(self) -> pd.Series:
        """How many samples broke each limit of the screen, most frequent first, by its words."""
        table = self.table("screening/rejected.csv")
        known = table is not None and "reason" in table
        return table["reason"].value_counts() if known else pd.Series(dtype=int)

    @property
    def empty_slots_words(self) -> str:
        """That slots stayed empty, and the limit that most samples break; "" where none did."""
        number, slots = self.number_selected, self.number_of_slots
        if number is None or (number > 0 and number >= (slots or 0)):
            return ""
        text = f"{number} of {slots} slots are filled" if number else "Nothing was selected"
        if len(self.set_aside):
            share = f"{self.set_aside.iloc[0]} of {self.set_aside.sum()}"
            text += f" (set aside, most often: {self.set_aside.index[0]}, {share})"
        return text

    @property
    def relaxed(self) -> pd.DataFrame | None:
        """`screening/force_field.csv` without the stacks that were only drawn at random."""
        table = self.table("screening/force_field.csv")
        if table is None or "only_drawn" not in table:
            return table
        return table[~table["only_drawn"].astype(bool)]

    # --- candidates ---------------------------------------------------------------------------

    @cached_property
    def candidates(self) -> list[Candidate]:
        """All slots, best first (`judgement.best_first`)."""
        predicted = _rows_by_slot(self.table("screening/selected.csv"))
        computed = _rows_by_slot(self.table("dft/results.parquet"))
        failed = _rows_by_slot(self.table("dft/failed.csv"))
        results = {}
        for path in self.matching("dft/slot_*/result.json"):
            record = self.record(path)
            if record is not None and str(record.get("slot", "")).isdigit():
                results[int(record["slot"])] = record
        candidates = []
        for slot in sorted({*predicted, *computed, *failed, *results}):
            result = results.get(slot, {})
            if result.get("status") == "empty":
                continue
            candidate = Candidate(
                slot=slot,
                status=_status(result, slot in computed, slot in failed),
                reason=str(result.get("reason") or failed.get(slot, {}).get("reason") or ""),
                predicted=_predicted(
                    predicted.get(slot) or _known(result.get("predicted") or {}),
                    result,
                ),
                computed=computed.get(slot, {}) or _computed(result),
                result=result,
                bonded_below=self.bonded_below,
            )
            self._read_folder(candidate)
            candidates.append(candidate)
        return best_first(candidates)

    @property
    def verified(self) -> list[Candidate]:
        return [c for c in self.candidates if c.status == "verified"]

    def _read_folder(self, candidate: Candidate) -> None:
        folder = f"dft/slot_{candidate.slot}"
        for name in ("relaxed", "structure"):
            frames = self._get(f"{folder}/{name}.extxyz", read_frames)
            if frames and (name == "relaxed" or candidate.atoms is None):
                candidate.atoms, candidate.relaxed = frames[-1], name == "relaxed"
                break
        # A failed calculation leaves these files empty.
        candidate.bands = self.record(f"{folder}/bands.json") or None
        states = self.table(f"{folder}/density_of_states.csv")
        candidate.states = None if states is None else states.to_numpy(float)
        cif = self.folder / folder / "relaxed.cif"
        candidate.cif = (cif.read_text(encoding="utf-8") if cif.is_file() else "") or None
        candidate.pw_input = self._pw_input(f"{folder}/scf/scf.in")
        for source in (candidate.result, candidate.computed, candidate.predicted):
            if source.get("specification"):
                candidate.stack = self._stack(source["specification"])
                break
        told = candidate.result.get("target") or {}
        asked = self.targets or {n: t["window"] for n, t in told.items() if t.get("window")}
        for name, window in asked.items():
            value = candidate.computed.get(name, told.get(name, {}).get("value"))
            inside = inside_window(value, window) if candidate.status == "verified" else None
            candidate.target[name] = {"window": window, "value": value, "inside": inside}

    def _pw_input(self, path: str) -> str | None:
        """Folders of the machine it ran on mean nothing on another."""
        full = self.folder / path
        if not full.is_file():
            return None
        text = full.read_text(encoding="utf-8", errors="replace")
        return re.sub(r"(pseudo_dir\s*=\s*)'[^']*'", r"\1'./pseudo'", text)

    def _stack(self, specification: str | Mapping) -> Stack | None:
        try:
            if isinstance(specification, str):
                specification = json.loads(specification)
            given = [layer["monolayer"] for layer in specification["layers"]]
            names = {name for name in given if isinstance(name, str)}
            return Stack.from_dict(specification, {n: self._monolayers[n] for n in names})
        except (StructureError, KeyError, TypeError, ValueError):
            return None

    @cached_property
    def _monolayers(self) -> dict[str, Monolayer]:
        path = self.folder / "library" / "monolayers.extxyz"
        if not path.is_file() or path.stat().st_size == 0:
            return {}
        made = {}
        try:
            for atoms in ase.io.iread(path, index=":", format="extxyz"):
                monolayer = Monolayer.from_atoms(atoms)
                made[monolayer.name] = monolayer
        except Exception as error:  # the reader raises many types for a broken file
            self.faults["library/monolayers.extxyz"] = f"not readable: {error}"
        return made

    def layer_rows(self, candidate: Candidate) -> list[dict]:
        """Formula and band edges per layer, bottom to top.

        Edges are those of the layer alone in the stack's cell where the verification computed
        them (`alone` is then true), else the library's; vacuum levels that face each other are
        made equal, as Anderson's rule has it.
        """
        if candidate.stack is None:
            return []
        library = self.table("library/monolayers.parquet")
        alone = candidate.result.get("layers") or []
        rows = []
        for i, layer in enumerate(candidate.stack.layers):
            row = {"formula": layer.monolayer.formula}
            if library is not None and "monolayer_id" in library:
                found = library[library["monolayer_id"] == layer.monolayer.name]
                if len(found):
                    row |= _known(found.iloc[0].to_dict())
                    if layer.flipped and "vacuum_step_ev" in row:
                        row["vacuum_step_ev"] *= -1
            if i < len(alone) and alone[i].get("vbm_ev") is not None:
                names = ("vbm_ev", "cbm_ev", "is_metal", "vacuum_step_ev")
                row |= {n: alone[i][n] for n in names if n in alone[i]} | {"alone": True}
            rows.append(row)
        shifts = facing_levels([row.get("vacuum_step_ev") or 0.0 for row in rows])
        for row, shift in zip(rows, shifts, strict=True):
            row |= {n: row[n] + shift for n in ("vbm_ev", "cbm_ev") if row.get(n) is not None}
        return rows


def _read_object(path: Path) -> dict:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def _known(row: Mapping) -> dict:
    """The row without unknown values."""
    return {k: v for k, v in row.items() if not (pd.api.types.is_scalar(v) and pd.isna(v))}


def _rows_by_slot(table: pd.DataFrame | None) -> dict[int, dict]:
    if table is None or "slot" not in table:
        return {}
    return {int(row["slot"]): _known(row) for row in table.to_dict("records")}


def _predicted(screened: dict, result: Mapping) -> dict:
    """What was predicted of the stack that was verified, which may have slid since the screen."""
    if result.get("verified_stack_id") in (None, result.get("stack_id")):
        return screened
    kept = {key: v for key, v in screened.items() if key.removesuffix("_std") not in LABELLED}
    return kept | _known(result.get("predicted") or {})


def _status(result: Mapping, computed: bool, failed: bool) -> str:
    if result.get("status") in ("verified", "failed"):
        return str(result["status"])
    if computed:
        return "verified"
    return "failed" if failed else "pending"


def _computed(result: Mapping) -> dict:
    """Values of `result.json` as a row, for a campaign whose results were not collected yet."""
    row = {k: result[k] for k in ("stack_id", "specification", "formula") if k in result}
    for name, entry in (result.get("properties") or {}).items():
        value = entry.get("value") if isinstance(entry, Mapping) else entry
        if value is not None:
            row[name] = value
    return row
