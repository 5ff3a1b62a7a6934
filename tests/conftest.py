"""A small library of hexagonal layers, its matches and stacks, made without any file."""

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

os.environ.setdefault("DGLBACKEND", "pytorch")

from heteroforge.models.catalogue import Catalogue
from heteroforge.models.gvae_training import train_gvae
from heteroforge.structures import Monolayer
from heteroforge.structures.enumeration import enumerate_matches, match_table
from heteroforge.structures.matching import Match, enumerate_registries, stack_from_match


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with the longest tests first: processes that share the files end at about one time."""

    def weight(item: pytest.Item) -> int:
        return sum(item.get_closest_marker(name) is not None for name in ("pw", "slow"))

    heaviest: dict[Path, int] = {}
    for item in items:
        heaviest[item.path] = max(heaviest.get(item.path, 0), weight(item))
    items.sort(key=lambda item: -heaviest[item.path])


def trilayer(metal: str, bottom: str, top: str, a: float, thickness: float) -> Monolayer:
    return Monolayer(
        species=(bottom, metal, top),
        positions=((0.0, 0.0), (1 / 3, 2 / 3), (0.0, 0.0)),
        heights=(-thickness / 2, 0.0, thickness / 2),
        a=a,
        b=a,
        gamma_deg=120.0,
        name=f"{metal}{bottom}{top}",
    )


@pytest.fixture(scope="session")
def small_monolayers() -> dict[str, Monolayer]:
    layers = [
        trilayer("Mo", "S", "S", 3.18, 3.13),
        trilayer("W", "S", "S", 3.19, 3.15),
        trilayer("Mo", "Se", "S", 3.25, 3.23),
        trilayer("Mo", "Se", "Se", 3.32, 3.34),
        trilayer("W", "Se", "Se", 3.32, 3.36),
    ]
    return {layer.name: layer for layer in layers}


@pytest.fixture(scope="session")
def small_table(small_monolayers) -> pd.DataFrame:
    names = list(small_monolayers)
    generator = np.random.default_rng(0)
    vbm = -5.5 - generator.random(len(names))
    gap = 1.3 + 0.6 * generator.random(len(names))
    return pd.DataFrame(
        {"vbm_ev": vbm, "cbm_ev": vbm + gap, "gap_ev": gap, "stiffness_n_m": 120.0}, index=names
    )


@pytest.fixture(scope="session")
def small_matches(small_monolayers) -> pd.DataFrame:
    return match_table(enumerate_matches(small_monolayers, 20.0, 3.0, 8))


@pytest.fixture(scope="session")
def small_catalogue(small_monolayers, small_matches, small_table) -> Catalogue:
    return Catalogue(small_monolayers, small_matches, small_table)


@pytest.fixture(scope="session")
def small_stacks(small_monolayers, small_matches):
    found = {}
    for row in small_matches.to_dict("records"):
        lower, upper = small_monolayers[row["bottom"]], small_monolayers[row["top"]]
        match = Match(
            json.loads(row["supercell_bottom"]),
            json.loads(row["supercell_top"]),
            row["twist_deg"],
            row["mismatch_percent"],
            row["area_a2"],
            row["number_of_atoms"],
        )
        faces = [(False,) if m.has_equal_faces else (False, True) for m in (lower, upper)]
        for registry in enumerate_registries(lower, upper):
            for flipped in itertools.product(*faces):
                stack = stack_from_match(
                    lower, upper, match, registry, None, flipped, (120.0, 120.0)
                )
                found.setdefault(stack.key(), stack)
    return list(found.values())


@pytest.fixture(scope="session")
def small_split(small_stacks):
    """Training stacks, and those of one pair that is held out."""
    held = {"MoSS", "WSeSe"}
    names = [{layer.monolayer.name for layer in stack.layers} for stack in small_stacks]
    return (
        [stack for stack, name in zip(small_stacks, names, strict=True) if name != held],
        [stack for stack, name in zip(small_stacks, names, strict=True) if name == held],
    )


@pytest.fixture(scope="session")
def small_properties(small_split, small_table):
    """Gap by Anderson's rule of the training and held-out stacks."""
    values = []
    for stack in [*small_split[0], *small_split[1]]:
        rows = small_table.loc[[layer.monolayer.name for layer in stack.layers]]
        values.append(max(0.0, rows["cbm_ev"].min() - rows["vbm_ev"].max()))
    return {"gap_ev": np.array(values)}


@pytest.fixture(scope="session")
def small_gvae(small_split, small_catalogue, small_properties):
    """A generative model trained for some seconds."""
    return train_gvae(
        small_split[0],
        small_split[1],
        small_catalogue,
        small_properties,
        latent_dimensions=12,
        number_of_layers=(2, 2),
        epochs=120,
        batch_size=16,
        learning_rate=0.006,
        kl_weight=0.05,
        seed=3,
        width=32,
        conditional_steps=60,
        progress=False,
    )
