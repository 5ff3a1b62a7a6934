"""Figures: geometry that must be true, markup that must fit a page."""

from xml.etree import ElementTree

import numpy as np
import pytest
from campaign_files import bands, monolayers, stack

from heteroforge.report import figures
from heteroforge.structures import build


@pytest.fixture(scope="module")
def atoms():
    layers = monolayers()
    return build(stack(layers["MoS2"], layers["WSe2"]))


def test_drawn_crystal_is_turned_not_mirrored(atoms):
    drawn = figures._upright(atoms)
    before, after = atoms.cell.array[:2, :2], drawn.cell.array[:2, :2]
    assert np.linalg.det(after) == pytest.approx(np.linalg.det(before))
    assert after[0] == pytest.approx([0, np.linalg.norm(before[0])], abs=1e-9)
    # Distances within the cell and along z are those of the crystal.
    for one, other in ((0, 1), (0, 5), (2, 4)):
        assert drawn.get_distance(one, other, mic=True) == pytest.approx(
            atoms.get_distance(one, other, mic=True), abs=1e-6
        )


def test_drawing_does_not_depend_on_the_vacuum_or_the_place(atoms):
    moved = atoms.copy()
    moved.cell[2, 2] += 11.0
    moved.positions += [0, 0, 4.0]
    expected, drawn = figures._upright(atoms), figures._upright(moved)
    assert drawn.positions == pytest.approx(expected.positions, abs=1e-6)


def test_layers_are_found_without_marks(atoms):
    bare = atoms.copy()
    del bare.arrays["layer"]
    found = figures.layer_indices(bare)
    expected = figures.layer_indices(atoms)
    assert [sorted(f) for f in found] == [sorted(e) for e in expected]


def test_bonds_join_metal_and_chalcogen_only(atoms):
    symbols = atoms.get_chemical_symbols()
    bonds = figures._bonds(figures._upright(atoms))
    assert {symbols[i]: len(b) for i, b in bonds.items()} == {"Mo": 6, "S": 3, "W": 6, "Se": 3}


def test_structure_names_layers_and_gap(atoms):
    svg = figures.inline_svg(figures.structure_figure(atoms, ["lower", "upper"]), "t", "p")
    text = "".join(ElementTree.fromstring(svg).itertext())
    assert "lower" in text and "upper" in text
    assert "3.05\u202fÅ" in text


def test_element_colours_do_not_depend_on_order():
    assert figures.element_colours(["W", "S"]) == figures.element_colours(["S", "W", "S"])


def test_inline_svg_follows_the_page():
    svg = figures.inline_svg(figures.band_figure(bands(-5.5, -4.3), ["A", "B"]), "a & b", "one")
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == "a & b"
    assert "var(--ink)" in svg and figures.INK not in svg
    ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
    assert ids and all(i.startswith("one-") for i in ids)
    assert len(svg) < 250_000


def test_tooltips_name_the_marks():
    groups = {"ranked": ([1.0, 1.2], [5.0, 9.0]), "selected": ([1.1], [7.0])}
    figure = figures.scatter_figure("gap_ev", "binding_energy_mev_a2", groups)
    tooltips = {"points-0": ["first", "second"], "points-1": ["third"]}
    svg = figures.inline_svg(figure, "t", "p", tooltips)
    titles = [e.text for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("title")]
    assert titles == ["first", "second", "third"]
    # Another number of marks than texts: none rather than wrong ones.
    svg = figures.inline_svg(figure, "t", "p", {"points-0": ["only one"]})
    assert "only one" not in svg


def test_colour_of_a_mixed_state_lies_between_the_layers():
    pure, other, mixed = figures._mix(np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5]]))
    assert mixed == pytest.approx((pure + other) / 2)
    assert not np.allclose(pure, other)


def test_metals_and_unknown_edges_can_be_drawn():
    metal = {**bands(-4.5, -4.5), "is_metal": True, "layer_weights": []}
    assert "no gap" in figures.inline_svg(figures.band_figure(metal), "t", "p")
    level = {"name": "stack", "kind": "stack", "vbm_ev": None, "cbm_ev": None}
    figures.inline_svg(figures.alignment_figure([level]), "t", "p")


def test_save_writes_both_formats(tmp_path):
    figures.save(figures.funnel_figure([("sampled", 100), ("verified", 0)]), tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "f.svg").read_text().count("<svg") == 1
