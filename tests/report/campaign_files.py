"""A small campaign on disk, in the files and columns of docs/architecture.md."""

import json

import numpy as np
import pandas as pd
from ase.build import mx2

from heteroforge.io import write_frames, write_json, write_table
from heteroforge.report.figures import history_figure, save
from heteroforge.structures import Interface, Layer, Monolayer, Stack, build

TARGETS = {"gap_ev": [1.0, 3.0], "binding_energy_mev_a2": [5, None]}
CONFIGURATION = {
    "campaign": "demo",
    "seed": 7,
    "targets": TARGETS,
    "samples": {"number": 400, "shards": 2},
    "dft": {"protocol": "quick", "slots": 4},
}
HOSTILE = "<script>alert('x')</script>"

LAYERS = {  # metal, chalcogens, a (Å), height of the layer (Å), vbm, cbm (eV)
    "MoS2": ("Mo", "S2", 3.18, 3.13, -5.95, -4.27),
    "WS2": ("W", "S2", 3.19, 3.14, -5.68, -3.95),
    "MoSe2": ("Mo", "Se2", 3.32, 3.34, -5.33, -3.89),
    "WSe2": ("W", "Se2", 3.32, 3.36, -5.05, -3.52),
}


def monolayers() -> dict[str, Monolayer]:
    made = {}
    for name, (_, _, a, height, _, _) in LAYERS.items():
        atoms = mx2(name, kind="2H", a=a, thickness=height, vacuum=8.0)
        made[name] = Monolayer.from_atoms(atoms, name=name).standardised()[0]
    return made


def stack(lower: Monolayer, upper: Monolayer) -> Stack:
    a = (lower.a + upper.a) / 2
    return Stack(
        layers=(Layer(lower), Layer(upper, flipped=True)),
        interfaces=(Interface(offset=(1 / 3, 2 / 3), gap_a=3.05),),
        a=a,
        b=a,
        gamma_deg=lower.gamma_deg,
    )


def bands(vbm_ev: float, cbm_ev: float) -> dict:
    k = np.linspace(0, 3.1, 46)
    shape = np.cos(np.linspace(0, 3 * np.pi, 46))
    energies, first = [], []
    for band in range(10):
        below = band < 5
        line = (vbm_ev - 0.5 * band if below else cbm_ev + 0.5 * (band - 5)) + (
            0.25 * (shape - 1) if below else 0.25 * (1 - shape)
        )
        energies.append(line)
        first.append(np.clip(0.5 + 0.5 * np.cos(band + 2 * k), 0, 1))
    first = np.array(first).T
    return {
        "k_distance": k.tolist(),
        "labels": [[0.0, "Γ"], [1.1, "M"], [1.75, "K"], [3.1, "Γ"]],
        "energies_ev": np.array(energies).T.tolist(),
        "layer_weights": [first.tolist(), (1 - first).tolist()],
        "vbm_ev": vbm_ev,
        "cbm_ev": cbm_ev,
        "is_metal": False,
    }


def write_clustering(folder):
    """What the stage says beside the clusters: drivers, targets, validity, cards, known ones."""
    drivers = [
        ("gap_ev", "electronegativity_spread", 0.41, 0.30, 0.09, "raises", 40, 0.5),
        ("gap_ev", "row_mean", 0.22, 0.10, 0.09, "lowers", 40, 0.5),
        ("gap_ev", "thickness_a", 0.05, 0.0, 0.09, "chance", 40, 0.5),
        ("binding_energy_mev_a2", "area_per_atom_a2", 0.31, 0.05, 0.07, "lowers", 22, 0.3),
        ("mobility_cm2_vs", "thickness_a", 0.02, -0.1, 0.3, "chance", 11, -0.2),
        ("works", None, None, None, None, "too few known values: 4, at least 8 needed", 4, None),
    ]
    columns = ["target", "descriptor", "importance", "importance_low", "null_importance",
               "effect", "samples", "skill"]  # fmt: skip
    write_table(folder / "drivers.csv", pd.DataFrame(drivers, columns=columns))
    asked = {"gap_ev": [1.68, 1.73, 1.44, 1.53], "mobility_cm2_vs": [240.0, 300.0, 90.0, None]}
    asked |= {"binding_energy_mev_a2": [17.0, 16.0, None, None]}
    targets = {"monolayer_id": list(LAYERS), "is_semiconductor": True, **asked}
    write_table(folder / "targets.parquet", pd.DataFrame(targets))
    validity = {
        "method": ["HDBSCAN", "HDBSCAN", "HDBSCAN, descriptors shuffled", "k-means", "chemistry"],
        "settings": ["at least 2, eom", "at least 4, eom", "at least 2, eom", None, None],
        "chosen": [True, False, False, False, False],
        "clusters": [2, 0, 1, 2, 2],
        "share_clustered": [0.75, 0.0, 0.5, 1.0, 1.0],
        "fast_dbcv": [0.2, 0.0, 0.01, None, None],
        "stability": [0.81, 0.0, 0.12, None, None],
        "dbcv": [0.31, None, None, -0.4, -0.6],
        "gap_ev_explained": [0.12, None, -0.1, 0.2, 0.1],
        "mobility_cm2_vs_explained": [-0.3, None, -0.1, -0.2, -0.1],
    }
    write_table(folder / "validity.csv", pd.DataFrame(validity))
    cards = {
        "cluster": [-1, 0, 1],
        "monolayers": [1, 2, 1],
        "share_that_works": [None, 1.0, 0.0],
        "known_to_work_or_not": [0, 2, 1],
        "gap_ev_median": [1.53, 1.705, 1.44],
        "gap_ev_known": [1, 2, 1],
        "mobility_cm2_vs_median": [None, 270.0, 90.0],
        "mobility_cm2_vs_known": [0, 2, 1],
        "binding_energy_mev_a2_median": [None, 16.5, None],
        "binding_energy_mev_a2_known": [0, 2, 0],
        "shared": ["row_mean +1.0 σ", "row_spread -0.8 σ; packing +0.5 σ", "row_mean +0.3 σ"],
        "layer_groups": ["78 (1)", "78 (2)", "78 (1)"],
        "examples": ["WSe2", "MoS2, WS2", "MoSe2"],
    }
    write_table(folder / "cards.csv", pd.DataFrame(cards))
    known = {
        "name": ["2H-MoS2", "2H-MoSe2", "graphene"],
        "formula": ["MoS2", "MoSe2", "C"],
        "layer_group": [78, 78, 80],
        "verdict": ["good", "good", "poor"],
        "because": ["direct gap", "direct gap", "no gap"],
        "monolayer_id": ["MoS2", "MoSe2", None],
        **{name: [*values[:1], values[2], None] for name, values in asked.items()},
        "works": [True, False, None],
        "agrees": [True, False, None],
    }
    write_table(folder / "known.csv", pd.DataFrame(known))


def write_campaign(folder, hostile: bool = False):
    """Write every stage's files; `hostile` puts markup into names and reasons."""
    rng = np.random.default_rng(7)
    layers = monolayers()
    spoilt = HOSTILE if hostile else ""
    write_frames(folder / "library/monolayers.extxyz", [m.to_atoms() for m in layers.values()])
    write_table(
        folder / "library/monolayers.parquet",
        pd.DataFrame(
            [
                {
                    "monolayer_id": name,
                    "formula": name,
                    "prototype": "AB2-3-lg78" + spoilt,
                    "layer_group": 78,
                    "number_of_atoms": 3,
                    "a_a": row[2],
                    "b_a": row[2],
                    "gamma_deg": 120.0,
                    "thickness_a": row[3],
                    "area_a2": row[2] ** 2 * 3**0.5 / 2,
                    "is_metal": False,
                    "gap_ev": row[5] - row[4],
                    "vbm_ev": row[4],
                    "cbm_ev": row[5],
                    "electron_mobility_cm2_vs": 240.0 if name != "WSe2" else None,
                    "source": "test",
                    "protocol": "quick",
                }
                for name, row in LAYERS.items()
            ]
        ),
    )
    write_table(
        folder / "library/rejected.csv",
        pd.DataFrame([{"material": "PtO2" + spoilt, "reason": "not finite", "file": "PtO2.cif"}]),
    )
    write_table(
        folder / "clustering/clusters.csv",
        pd.DataFrame(
            {
                "monolayer_id": list(LAYERS),
                "cluster": [0, 0, 1, -1],
                "probability": [1.0, 0.8, 0.9, 0.0],
                "works": [True, True, False, None],
            }
        ),
    )
    write_clustering(folder / "clustering")
    names = list(layers)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    write_table(
        folder / "stacks/matches.parquet",
        pd.DataFrame(
            [
                {
                    "match_id": i,
                    "bottom": a,
                    "top": b,
                    "supercell_bottom": "[[1,0],[0,1]]",
                    "supercell_top": "[[1,0],[0,1]]",
                    "twist_deg": 60.0 * (i % 2),
                    "mismatch_percent": 0.4 * i,
                    "area_a2": 8.8,
                    "number_of_atoms": 6,
                }
                for i, (a, b) in enumerate(pairs)
            ]
        ),
    )
    made = [stack(layers[a], layers[b]) for a, b in pairs]
    basis = pd.DataFrame(
        {
            "stack_id": [s.key() for s in made],
            "specification": [s.to_json() for s in made],
            "number_of_layers": 2,
            "number_of_atoms": 6,
            "mismatch_percent": [s.mismatch_percent for s in made],
            "twist_deg": 60.0,
        }
    )
    training = basis.assign(split=["train"] * 4 + ["validation", "test"])
    write_table(folder / "stacks/training_stacks.parquet", training)
    write_table(
        folder / "labels/labels.parquet",
        pd.DataFrame(
            [
                {
                    "stack_id": row.stack_id,
                    "specification": row.specification,
                    "property": name,
                    "value": value,
                    "unit": unit,
                    "fidelity": fidelity,
                    "source": "test",
                }
                for row in basis.itertuples()
                for name, value, unit in (("gap_ev", 1.2, "eV"), ("interlayer_gap_a", 3.1, "Å"))
                for fidelity in ("baseline", "published", "dft")
            ]
        ),
    )
    epochs = np.arange(1, 21)
    write_table(
        folder / "gvae/history.csv",
        pd.DataFrame(
            {
                "epoch": epochs,
                "learning_rate": 0.002,
                "loss": 3 * np.exp(-epochs / 6) + 0.1,
                "validation_loss": 3 * np.exp(-epochs / 6) + 0.15,
                "kl_0": 0.3,
            }
        ),
    )
    write_json(
        folder / "gvae/metrics.json",
        {"reconstruction": {"match_percent": 98.7, "rmse_a": 0.013}, "novelty_percent": 83.1},
    )
    write_json(
        folder / "gnn/metrics.json",
        {
            "split": "leave pairs out, 10 folds",
            "labelled_stacks": 40,
            "labelled_pairs": 12,
            "members": 4,
            "properties": {
                "gap_ev": {
                    "labels": 40,
                    "pairs": 12,
                    "predictors": {
                        "physics": {"mae": 0.236, "rmse": 0.31, "bias": -0.2},
                        "mean": {"mae": 0.441, "rmse": 0.55, "bias": 0.0},
                        "boosting": {"mae": 0.127, "rmse": 0.17, "bias": 0.01},
                        "network": {"mae": 0.113, "rmse": 0.15, "bias": 0.0},
                    },
                    "best": "network",
                    "network_beats_baselines": True,
                }
            },
        },
    )
    write_json(
        folder / "gnn/calibration.json",
        {
            "levels": [0.68, 0.9],
            "properties": {
                "gap_ev": {
                    "predictor": "network",
                    "calibrated": True,
                    "floor": 0.05,
                    "factors": [1.1, 2.0],
                    "coverage": [0.66, 0.91],
                }
            },
        },
    )
    known = rng.uniform(0.8, 2.0, 40)
    write_table(
        folder / "gnn/test_predictions.parquet",
        pd.DataFrame(
            {
                "stack_id": [f"s{i}" for i in range(40)],
                "formula": [f"MoS2/WS2{spoilt}"] * 40,
                "pair": "MoS2|WS2",
                "fold": 0,
                "property": "gap_ev",
                "dft": known,
                "physics": known - 0.2,
                "network": known + rng.normal(0, 0.1, 40),
                "network_spread": 0.1,
            }
        ),
    )
    figure = history_figure([1, 2, 3], {"baseline": [1, 2, 3], "DFT": [1, 2, 4]}, "gap (eV)")
    save(figure, folder / "labels/predicted_and_dft.png")
    many = 200
    for shard in (0, 1):
        write_table(
            folder / f"samples/shard_{shard}.parquet",
            pd.DataFrame(
                {
                    "stack_id": [f"{shard}-{i}" for i in range(many)],
                    "specification": basis.specification.iloc[0],
                    "number_of_atoms": 6,
                    "is_novel": rng.random(many) < 0.8,
                }
            ),
        )
    ranked = pd.DataFrame(
        {
            "stack_id": [f"r{i}" for i in range(300)],
            "specification": basis.specification.iloc[0],
            "formula": [f"MoS2/WS2 number {i}" for i in range(300)],
            "gap_ev": rng.normal(1.2, 0.5, 300),
            "gap_ev_std": 0.12,
            "binding_energy_mev_a2": rng.normal(12, 8, 300),
            "binding_energy_mev_a2_std": 1.5,
            "probability": np.sort(rng.random(300))[::-1],
            "pareto_rank": rng.integers(0, 5, 300),
            "rank": np.arange(300),
        }
    )
    write_table(folder / "screening/ranked.parquet", ranked)
    write_table(
        folder / "screening/rejected.csv",
        pd.DataFrame(
            {
                "stack_id": [f"x{i}" for i in range(30)],
                "reason": ["mismatch above 3 %"] * 20 + ["more than 6 atoms" + spoilt] * 10,
            }
        ),
    )
    write_json(
        folder / "screening/funnel.json",
        {"samples": 400, "distinct": 390, "within_limits": 300, "likely": 157},
    )
    write_table(
        folder / "screening/force_field.csv",
        pd.DataFrame(
            {
                "stack_id": [f"f{i}" for i in range(4)],
                "formula": [f"{a}/{b}{spoilt}" for a, b in pairs[:3]] + ["AlP/AlP"],
                "outcome": ["kept"] * 3 + ["rejected"],
                "reason": [""] * 3 + ["layers come apart: gap 6.4 Å" + spoilt],
            }
        ),
    )
    chosen = basis.iloc[:3].assign(
        slot=range(3),
        formula=[f"{a}/{b}{spoilt}" for a, b in pairs[:3]],
        gap_ev=[1.31, 1.02, 1.18],
        gap_ev_std=[0.11, 0.09, 0.2],
        binding_energy_mev_a2=[17.2, 15.9, 16.4],
        binding_energy_mev_a2_std=1.2,
        probability=[0.93, 0.81, 0.66],
        reason="best probability" + spoilt,
    )
    write_table(folder / "screening/selected.csv", chosen)
    rows = []
    for slot, (gap, binding) in enumerate([(1.24, 16.8), (0.71, 15.1)]):
        atoms = build(made[slot])
        vbm = -5.5
        write_frames(folder / f"dft/slot_{slot}/structure.extxyz", atoms)
        write_frames(folder / f"dft/slot_{slot}/relaxed.extxyz", atoms)
        write_json(folder / f"dft/slot_{slot}/bands.json", bands(vbm, vbm + gap))
        properties = {"gap_ev": gap, "binding_energy_mev_a2": binding}
        inside = {"gap_ev": gap >= 1.0, "binding_energy_mev_a2": True}
        write_json(
            folder / f"dft/slot_{slot}/result.json",
            {
                "slot": slot,
                "stack_id": made[slot].key(),
                "specification": made[slot].to_dict(),
                "predicted": {"gap_ev": float(chosen.gap_ev.iloc[slot])},
                "status": "verified",
                "reason": "",
                "properties": {
                    name: {"value": value, "unit": "eV"} for name, value in properties.items()
                },
                "target": {
                    name: {"window": TARGETS[name], "value": value, "inside": inside[name]}
                    for name, value in properties.items()
                },
                "protocol": {"name": "quick", "cutoff_ry": 60},
                "pseudopotentials_sha256": {"Mo": "ab" * 32, "S": "cd" * 32},
                "quantum_espresso": "6.7MaX",
                "versions": {"heteroforge": "0.1.0", "packages": {"numpy": "2"}},
                "layers": [
                    {"status": "done", "vbm_ev": -5.93, "cbm_ev": -4.25, "is_metal": False},
                    {"status": "done", "vbm_ev": -5.66, "cbm_ev": -3.93, "is_metal": False},
                ],
                "attempts": [{"step": "relax", "attempt": 1}],
            },
        )
        rows.append(
            {
                "slot": slot,
                "stack_id": made[slot].key(),
                "specification": made[slot].to_json(),
                "formula": chosen.formula.iloc[slot],
                "number_of_layers": 2,
                "number_of_atoms": 6,
                "gap_ev": gap,
                "gap_is_direct": bool(slot),
                "vbm_ev": vbm,
                "cbm_ev": vbm + gap,
                "ionization_energy_ev": -vbm,
                "electron_affinity_ev": -vbm - gap,
                "vacuum_step_ev": 0.063,
                "alignment": "II",
                "vbm_layer_weights": json.dumps([0.12, 0.88]),
                "cbm_layer_weights": json.dumps([0.95, 0.05]),
                "anderson_gap_ev": gap - 0.1,
                "anderson_alignment": "II",
                "binding_energy_mev_a2": binding,
                "strain_energy_mev_a2": 0.4,
                "net_energy_mev_a2": binding - 0.4,
                "interlayer_gap_a": 3.05,
                "electron_mass_m0": 0.52,
                "hole_mass_m0": 0.61,
                "ionic_steps": 9,
                "energy_drop_ev": 0.034,
                "meets_target": all(inside.values()),
                "protocol": "quick",
                "core_seconds": 300.0,
                "wasted_core_seconds": 30.0,
            }
        )
    write_table(folder / "dft/results.parquet", pd.DataFrame(rows))
    write_json(
        folder / "dft/slot_2/result.json",
        {
            "slot": 2,
            "stack_id": made[2].key(),
            "specification": made[2].to_dict(),
            "status": "failed",
            "reason": "SCF not converged after 5 attempts" + spoilt,
            "properties": {},
            "target": {},
            "attempts": [],
        },
    )
    write_table(
        folder / "dft/failed.csv",
        pd.DataFrame(
            [
                {
                    "slot": 2,
                    "stack_id": made[2].key(),
                    "step": "relax",
                    "reason": "SCF not converged after 5 attempts" + spoilt,
                }
            ]
        ),
    )
    return folder
