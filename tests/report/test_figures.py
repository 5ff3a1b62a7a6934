"""Figures: geometry that must be true, markup that must fit a page."""

from collections import Counter
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from campaign_files import bands, monolayers, stack
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from heteroforge.report import figures
from heteroforge.report.clustering_figures import chosen_figure, works_figure
from heteroforge.report.figures import name_points
from heteroforge.report.models import calibration_figure
from heteroforge.report.stacks import chances_figure, samples_figure
from heteroforge.structures import Defect, build
from heteroforge.structures.matching import stack_layers


@pytest.fixture(scope="module")
def atoms():
    layers = monolayers()
    return build(stack(layers["MoS2"], layers["WSe2"]))


def test_drawn_crystal_is_turned_not_mirrored(atoms):
    drawn = figures.upright(atoms)
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
    expected, drawn = figures.upright(atoms), figures.upright(moved)
    assert drawn.positions == pytest.approx(expected.positions, abs=1e-6)


def test_layers_are_found_without_marks(atoms):
    bare = atoms.copy()
    del bare.arrays["layer"]
    found = figures.layer_indices(bare)
    expected = figures.layer_indices(atoms)
    assert [sorted(f) for f in found] == [sorted(e) for e in expected]


def test_bonds_join_metal_and_chalcogen_only(atoms):
    symbols = atoms.get_chemical_symbols()
    first, second, vectors = figures.bonds(figures.upright(atoms))
    assert Counter((symbols[i], symbols[j]) for i, j in zip(first, second, strict=True)) == {
        ("Mo", "S"): 6, ("S", "Mo"): 6, ("W", "Se"): 6, ("Se", "W"): 6,
    }  # fmt: skip
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(2.45, abs=0.1)


def test_structure_names_layers_and_gap(atoms):
    svg = figures.inline_svg(figures.structure_figure(atoms, ["lower", "upper"]), "t", "p")
    text = "".join(ElementTree.fromstring(svg).itertext())
    assert "lower" in text and "upper" in text
    assert "3.05\u202fÅ" in text


def test_small_picture_has_letters_that_can_be_read(atoms):
    figure = figures.side_figure(atoms, ["lower", "upper"])
    texts = {text.get_text(): text for axes in figure.axes for text in axes.texts}
    assert {"lower", "upper", "3.05\u202fÅ", "Mo", "S"} <= set(texts)
    assert min(text.get_fontsize() for text in texts.values()) >= 9
    assert figure.get_figwidth() < 3.2 and figure.get_figheight() < 2.2  # inches, shown as drawn


def test_gallery_names_the_defects(small_monolayers):
    cells = ((2, 0), (0, 1))
    perfect = stack_layers((small_monolayers["MoSS"], small_monolayers["WSS"]), [cells] * 2)
    defects = (Defect("substitution", 1, "Nb"), Defect("vacancy", 2))
    lower = replace(perfect.layers[0], defects=defects)
    drawn = figures.gallery_figure([perfect, replace(perfect, layers=(lower, perfect.layers[1]))])
    titles = [axes.get_title() for axes in drawn.axes]
    assert "Nb on Mo, S vacancy" in titles[1] and titles[1].startswith(titles[0])


def test_density_of_states_stands_beside_the_bands_at_the_same_energies():
    energies = np.linspace(-12.0, 2.0, 300)
    states = np.column_stack([energies, np.exp(-((energies + 6) ** 2)), np.ones(300)])
    figure = figures.band_figure(bands(-5.5, -4.3), ["A", "B"], states)
    left, right = sorted(figure.axes, key=lambda axes: axes.get_position().x0)
    assert right.get_ylim() == left.get_ylim()
    assert len(right.collections) == 2
    assert left.get_position().x1 < right.get_position().x0


def test_element_colours_do_not_depend_on_order():
    assert figures.element_colours(["W", "S"]) == figures.element_colours(["S", "W", "S"])


def test_numbers_in_texts_of_figures_keep_their_digits():
    level = {"name": "A", "kind": "layer", "vbm_ev": -5.0, "cbm_ev": -3.0}
    svg = figures.inline_svg(figures.alignment_figure([level], 0.198983), "gap 1.2345 eV", "p")
    assert "vacuum step 0.199" in svg and "gap 1.2345 eV" in svg


def test_inline_svg_follows_the_page():
    svg = figures.inline_svg(figures.band_figure(bands(-5.5, -4.3), ["A", "B"]), "a & b", "one")
    root = ElementTree.fromstring(svg)
    assert root.attrib["aria-label"] == "a & b"
    assert "var(--ink)" in svg and figures.INK not in svg
    ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
    assert ids and all(i.startswith("one-") for i in ids)
    assert len(svg) < 250_000


def test_points_in_one_place_share_a_line_of_names():
    groups = {"ranked": ([1.0, 1.2], [5.0, 9.0]), "selected": ([1.1, 1.1, 1.3], [7.0, 7.0, 8.0])}
    names = {"selected": ["A/A (0)", "A/A (1)", "B/B (2)"]}
    figure = figures.scatter_figure("gap_ev", "binding_energy_mev_a2", groups, {}, names)
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["A/A (0), A/A (1)", "B/B (2)"]
    assert figure.axes[0].get_xlabel() == "band gap (eV)"


def test_calibration_tells_too_small_an_uncertainty():
    rng = np.random.default_rng(5)
    table = pd.DataFrame({"property": "gap_ev", "true": rng.normal(0, 1, 4000), "predicted": 0.0})

    def found_at_half(std: float) -> float:
        curve = calibration_figure(table.assign(std=std)).axes[0].lines[1]
        return curve.get_ydata()[9]  # where 50 % are expected

    assert found_at_half(1.0) == pytest.approx(50, abs=3)
    assert found_at_half(0.5) == pytest.approx(26.4, abs=3)  # half the width: 2 Φ(0.337) − 1
    assert found_at_half(2.0) > 75


def test_thousands_of_points_keep_the_svg_light():
    many = np.linspace(0, 3, 20_000)
    figure = figures.scatter_figure("gap_ev", "binding_energy_mev_a2", {"ranked": (many, many)})
    assert len(figures.inline_svg(figure, "t", "p")) < 300_000


def test_pairs_are_one_whichever_layer_lies_below():
    ranked = pd.DataFrame({"layers": ["A/B", "B/A", "A/A/B"], "probability": [0.2, 0.9, 0.4]})
    selected = pd.DataFrame({"layers": ["B/A"], "probability": [0.9]})
    axes = chances_figure(ranked, selected, ["A", "B", "never used"]).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["A", "B"]
    assert sorted(t.get_text() for t in axes.texts) == ["0.40", "0.90"]  # A on A, A and B
    (frame,) = axes.patches
    assert (frame.get_x() + 0.5, frame.get_y() + 0.5) == (0, 1)
    counted = samples_figure(ranked["layers"], ["A", "B"]).axes[0]
    assert sorted(t.get_text() for t in counted.texts) == ["1", "3"]


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


def test_a_single_pair_of_layers_can_be_drawn():
    axes = samples_figure(pd.Series(["A/B"] * 7), ["A", "B"]).axes[0]
    assert [text.get_text() for text in axes.texts] == ["7"]


def test_layers_alone_have_a_column_and_new_layers_a_name():
    axes = samples_figure(pd.Series(["B"] * 5 + ["A/B"] * 7 + ["C"] * 2), ["A", "B"]).axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["alone", "A", "B", "C"]  # the library lacks C
    drawn = {text.get_position(): text.get_text() for text in axes.texts}
    assert drawn == {(0, 2): "5", (0, 3): "2", (1, 2): "7"}


def test_the_chosen_stacks_are_lines_on_the_map():
    places = pd.DataFrame({"monolayer_id": list("ABC"), "x": [0.0, 1.0, 2.0], "y": [0.0, 1.0, 0.5]})
    axes = chosen_figure(places, [["A", "B"], ["B", "unknown"]]).axes[0]
    assert [line.get_xdata().tolist() for line in axes.lines] == [[0.0, 1.0], [1.0]]
    assert sorted(text.get_text() for text in axes.texts) == ["A", "B"]


def test_good_and_poor_are_beside_each_other_with_what_is_asked_in_sight():
    targets = pd.DataFrame(
        {
            "monolayer_id": ["good", "wide", "unknown"],
            "gap_ev": [1.5, 4.0, 1.0],
            "mobility_cm2_vs": [1e3, 2e3, None],
            "binding_energy_mev_a2": [None, None, 20.0],
            "works": pd.array([True, False, None], dtype="boolean"),
        }
    )
    windows = {"gap_ev": [0.5, 2.5], "mobility_cm2_vs": [100, None]}
    mobility, binding = works_figure(targets, windows).axes
    assert {text.get_text() for text in mobility.texts} == {"good", "wide"}
    assert {text.get_text() for text in binding.texts} == {"unknown"}
    assert mobility.get_ylim()[0] <= 100 and mobility.get_xlim()[0] <= 0.5


def test_names_of_points_do_not_cover_each_other():
    figure = Figure(figsize=(4, 3))
    axes = figure.subplots()
    x, y = [0.50, 0.51, 0.52, 1.0], [0.50, 0.51, 0.50, 1.0]
    axes.scatter(x, y)
    name_points(axes, x, y, [f"monolayer {i}" for i in range(4)])
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [Text.get_window_extent(text, renderer) for text in axes.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
