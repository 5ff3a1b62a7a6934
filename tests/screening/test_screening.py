"""Objectives, ranking and the choice of DFT candidates."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from heteroforge.dft.cost import expected_core_min
from heteroforge.dft.electronic import ANDERSON_AND_DFT
from heteroforge.io import InputError
from heteroforge.report.judgement import BONDED_CONTACT_RATIO
from heteroforge.screening import (
    HardLimits,
    LayersAlone,
    alignment_probabilities,
    anderson_probabilities,
    describe_candidate,
    joint_probability,
    pareto_ranks,
    rank_candidates,
    select_candidates,
)
from heteroforge.structures import Monolayer
from heteroforge.structures.matching import stack_layers

ROOT = Path(__file__).resolve().parents[2]


def brute_force_fronts(points: np.ndarray) -> np.ndarray:
    ranks = np.zeros(len(points), dtype=int)
    left = set(range(len(points)))
    front = 1
    while left:
        best = {
            i
            for i in left
            if not any(
                np.all(points[j] >= points[i]) and np.any(points[j] > points[i]) for j in left
            )
        }
        for i in best:
            ranks[i] = front
        left -= best
        front += 1
    return ranks


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_fronts_agree_with_brute_force(dimensions):
    generator = np.random.default_rng(dimensions)
    points = generator.integers(0, 6, (80, dimensions)).astype(float)
    assert np.array_equal(pareto_ranks(points, most_fronts=100), brute_force_fronts(points))


def test_far_fronts_are_lumped():
    ranks = pareto_ranks(np.arange(10.0)[:, None], most_fronts=3)
    assert ranks.tolist() == [4] * 7 + [3, 2, 1]
    assert len(pareto_ranks(np.zeros((0, 2)))) == 0


def test_joint_probability_multiplies_and_leaves_open_ends():
    frame = pd.DataFrame(
        {"gap_ev": [2.0, 2.0], "gap_ev_std": [1e-6, 1.0], "vbm_ev": [-5.0, -5.0],
         "vbm_ev_std": [1.0, 1.0]}
    )  # fmt: skip
    alone = joint_probability(frame, {"gap_ev": [1, 3]})
    assert alone[0] == pytest.approx(1.0) and alone[1] == pytest.approx(0.6827, abs=1e-3)
    both = joint_probability(frame, {"gap_ev": [1, 3], "vbm_ev": [-5.0, None]})
    assert both == pytest.approx(alone * 0.5)
    with pytest.raises(InputError, match=r"targets\.magic"):
        joint_probability(frame, {"magic": [0, 1]})


def test_a_metal_is_not_taken_for_an_infrared_detector():
    """0.0 ± 0.3 eV, cut off from −0.4 eV, is not likely to have a gap of 0.1 to 0.5 eV."""
    frame = pd.DataFrame({"gap_ev": [0.0], "gap_unclipped_ev": [-0.4], "gap_ev_std": [0.3]})
    assert joint_probability(frame, {"gap_ev": [0.1, 0.5]})[0] == pytest.approx(0.0464, abs=1e-3)
    # A window that begins at zero holds all that is a metal.
    assert joint_probability(frame, {"gap_ev": [0.0, 0.1]})[0] == pytest.approx(0.952, abs=1e-3)
    assert joint_probability(frame, {"gap_ev": [None, 0.1]})[0] == pytest.approx(0.952, abs=1e-3)


def test_alignment_follows_the_layers_and_their_errors(small_monolayers):
    names = list(small_monolayers)[:2]
    stack = stack_layers([small_monolayers[name] for name in names])

    def chance(first, second, std=0.1):
        alone = LayersAlone(pd.DataFrame([first, second], names, ["vbm_ev", "cbm_ev"]))
        return anderson_probabilities([stack], alone, np.array([std]), np.array([std]))[0, 1]

    assert chance((-6.0, -4.0), (-5.0, -3.0)) == pytest.approx(1.0, abs=1e-4)
    assert chance((-6.0, -3.0), (-5.0, -4.0)) == pytest.approx(0.0, abs=1e-4)
    # No offset, 0.1 eV uncertain: clear by 0.1 eV with Φ(−1) on either side.
    assert chance((-5.0, -4.0), (-5.0, -3.0)) == pytest.approx(0.1587, abs=1e-3)
    # An offset as large as DFT wants it: as likely clear as not, beside certain valence bands.
    assert chance((-6.0, -4.1), (-5.0, -4.0), std=0.1) == pytest.approx(0.5, abs=5e-3)
    assert np.isnan(chance((-6.0, -4.0), (-5.0, None)))


def test_alignment_of_polar_layers_and_three_layers(small_monolayers):
    layer = next(iter(small_monolayers.values()))
    three = stack_layers([layer] * 3)
    table = pd.DataFrame({"vbm_ev": -6.0, "cbm_ev": -4.0}, [layer.name])
    std = np.array([0.2])
    # Three equal layers: the edges meet on one of them by chance.
    one, two, neither = anderson_probabilities([three], LayersAlone(table), std, std)[0]
    assert two == pytest.approx(2 * one, rel=1e-3) and one + two < 0.5
    assert one + two + neither == pytest.approx(1.0)
    # Steps that add up separate the edges.
    polar = LayersAlone(table.assign(vacuum_step_ev=2.0))
    assert anderson_probabilities([three], polar, std, std)[0, 1] > 0.99


def test_a_metal_has_no_alignment(small_monolayers):
    first, second = list(small_monolayers.values())[:2]
    table = pd.DataFrame(
        {"vbm_ev": [-6.0, -5.0], "cbm_ev": [-4.0, -5.0], "is_metal": [False, np.True_]},
        [first.name, second.name],
    )
    stacks, std = [stack_layers([first, second]), stack_layers([first] * 2)], np.array([0.1] * 2)
    found = anderson_probabilities(stacks, LayersAlone(table), std, std)
    assert found[0].tolist() == [0.0, 0.0, 0.0]
    unsaid = LayersAlone(table.assign(is_metal=[False, pd.NA]))
    assert anderson_probabilities(stacks, unsaid, std, std)[0, 0] > 0.9


def test_alignment_counts_how_often_dft_agrees_with_andersons_rule(small_monolayers):
    """The counts are those of the bundled library; a clear type II is surer than a clear type I."""
    stacks = pd.read_csv(ROOT / "resources/library/stacks.csv")
    stacks = stacks[~(stacks["closest_contact_ratio"] < BONDED_CONTACT_RATIO)]
    kinds = ["I", "II", "undetermined"]
    counts = pd.crosstab(stacks["anderson_alignment"], stacks["alignment"])
    assert counts.loc[kinds, kinds].to_numpy().tolist() == [list(r) for r in ANDERSON_AND_DFT]
    first, second = list(small_monolayers.values())[:2]
    stack, std = stack_layers([first, second]), np.array([0.01])
    for edges, kind in (([-6.0, -5.0, -4.0, -3.0], 1), ([-5.0, -6.0, -4.0, -3.0], 0)):
        table = pd.DataFrame({"vbm_ev": edges[:2], "cbm_ev": edges[2:]}, [first.name, second.name])
        rule = anderson_probabilities([stack], LayersAlone(table), std, std)[0]
        assert rule[kind] > 0.999
        told = alignment_probabilities([stack], LayersAlone(table), std, std)[0]
        row = np.array(ANDERSON_AND_DFT[kind]) + 1
        assert told == pytest.approx(row[:2] / row.sum(), abs=1e-3)


def predicting(**values):
    """A model of layers that says the same of all, and what it was asked for."""
    row = {"vbm_ev": -6.0, "cbm_ev": -4.0, "gap_unclipped_ev": 2.0, "gap_ev": 2.0}
    row |= {f"{name}_std": 0.01 for name in ("vbm_ev", "cbm_ev", "gap_ev")}
    row |= {"vacuum_step_ev": 0.0, "vacuum_step_ev_std": 0.0} | values
    asked = []

    def predict(layers):
        asked.extend(layers)
        return pd.DataFrame([row] * len(layers))

    return SimpleNamespace(predict=predict, asked=asked)


def test_alignment_of_a_new_layer_is_of_its_predicted_edges(small_monolayers):
    known = small_monolayers["MoSS"]
    new = replace(small_monolayers["MoSeS"], name="")
    table = pd.DataFrame({"vbm_ev": -6.0, "cbm_ev": -4.0}, [known.name])
    stacks, std = [stack_layers([known, new]), stack_layers([new, known])], np.array([0.1, 0.1])

    def chance(**values):
        of_layers = predicting(**values)
        alone = LayersAlone(table, of_layers)
        one, other = anderson_probabilities(stacks, alone, std, std)[:, 1]
        assert one == pytest.approx(other)
        assert of_layers.asked == [new], "what is known is not predicted, nor anything twice"
        return one

    assert chance(vbm_ev=-5.0, cbm_ev=-3.0) == pytest.approx(1.0, abs=1e-4)
    # As certain as the stack where it is more certain than that, and less where it is not.
    same = {"cbm_ev": 0.0}
    alike = chance(**same)
    assert alike == pytest.approx(0.1587, abs=1e-3)
    assert chance(**same, vbm_ev_std=0.1 / 2**0.5) == pytest.approx(alike)
    # No offset, 0.1 eV clear: Φ(−0.1 / √(0.1²/2 + 0.5²)) on either side.
    less = norm.cdf(-0.1 / np.hypot(0.1 / 2**0.5, 0.5))
    assert chance(**same, vbm_ev_std=0.5) == pytest.approx(less, abs=1e-6)
    # Half of a step is how far one face's level is from the mean.
    assert chance(**same, vacuum_step_ev_std=1.0) == pytest.approx(less, abs=1e-4)
    # As likely a metal as not: half of it.
    assert chance(**same, gap_unclipped_ev=0.05) == pytest.approx(alike / 2)
    assert chance(**same, gap_unclipped_ev=-0.5) == pytest.approx(0.0, abs=1e-9)


def test_predicted_edges_keep_to_a_known_gap_and_lose_spin_orbit_coupling(small_monolayers):
    layer = small_monolayers["MoSeS"]
    shifts = {"vbm": -0.2, "cbm": 0.0, "gap": 0.2}
    alone = {f"{name}_ev": 0.0 for name in shifts}
    alone |= {f"{name}_without_spin_orbit_ev": shift for name, shift in shifts.items()}
    published = SimpleNamespace(predict_layers=lambda layers: {layers[0]: alone})
    nothing = pd.DataFrame({"vbm_ev": [np.nan], "cbm_ev": [-4.0]}, [layer.name])
    found = LayersAlone(nothing, predicting(), published).edges(layer)
    # Both edges are predicted where one is missing.
    assert (found.vbm, found.cbm, found.has_gap) == pytest.approx((-6.2, -4.0, 1.0))
    found = LayersAlone(nothing.assign(gap_ev=1.0), predicting(), published).edges(layer)
    assert (found.vbm, found.cbm) == pytest.approx((-5.6, -4.6))
    # A metal is one, whatever is predicted of its edges.
    assert LayersAlone(nothing.assign(gap_ev=0.0), predicting()).edges(layer).has_gap == 0.0
    assert LayersAlone(nothing.assign(is_metal=True), predicting()).edges(layer).has_gap == 0.0
    assert np.isnan(LayersAlone(nothing).edges(layer).vbm)
    # What C2DB knows has the coupling in it, other than what this project's DFT does.
    known = nothing.assign(vbm_ev=-5.5, gap_ev=1.5)
    for protocol, vbm in (("C2DB PBE", -5.7), ("quick", -5.5)):
        found = LayersAlone(known.assign(protocol=protocol), None, published).edges(layer)
        assert (found.vbm, found.cbm) == pytest.approx((vbm, -4.0))
        assert found.vbm_std == 0.0


def test_of_three_layers_the_quadrature_holds_for_unequal_errors(small_monolayers):
    """Against draws: one predicted layer between two that are known well."""
    outer, new = small_monolayers["MoSS"], replace(small_monolayers["WSS"], name="")
    table = pd.DataFrame({"vbm_ev": -6.0, "cbm_ev": -4.0}, [outer.name])
    alone = LayersAlone(table, predicting(vbm_ev=-5.9, vbm_ev_std=0.5, cbm_ev=-1.0))
    std = np.array([0.1])
    stack = stack_layers([outer, new, outer])
    generator, number = np.random.default_rng(0), 200000
    one, other = generator.normal(-6.0, 0.1 / 2**0.5, (2, number))
    middle = generator.normal(-5.9, 0.5, number)
    # The conduction edge is on either outer layer, where they differ enough.
    holds_cbm = 2 * norm.cdf(-0.1 / 0.1)
    expected = (middle > np.maximum(one, other) + 0.1).mean() * holds_cbm
    outer_too = 2 * (one > np.maximum(middle, other) + 0.1).mean() * norm.cdf(-0.1 / 0.1)
    found = anderson_probabilities([stack], alone, std, std)[0, 1]
    assert found == pytest.approx(expected + outer_too, abs=0.005)


def test_alignment_counts_like_a_target():
    frame = pd.DataFrame(
        {
            "gap_ev": [2.0] * 3,
            "gap_ev_std": 1e-6,
            "type_i_probability": [0.05, 0.6, np.nan],
            "type_ii_probability": [0.9, 0.2, np.nan],
        }
    )
    targets = {"gap_ev": [1, 3]}
    # Of the bundled stacks about half are of type II, a fifth of type I.
    assert joint_probability(frame, targets, "II") == pytest.approx([0.9, 0.2, 0.5], abs=0.05)
    assert joint_probability(frame, targets, "I") == pytest.approx([0.05, 0.6, 0.2], abs=0.05)
    assert joint_probability(frame, targets) == pytest.approx([1.0] * 3)


@pytest.fixture
def scored() -> pd.DataFrame:
    generator = np.random.default_rng(0)
    n = 60
    return pd.DataFrame(
        {
            "stack_id": [f"s{i:02d}" for i in range(n)],
            "formula": "A/B",
            "probability": np.r_[np.full(20, 0.95), generator.uniform(0, 0.8, n - 20)],
            "binding_energy_mev_a2": generator.uniform(10, 30, n),
            "binding_energy_mev_a2_std": generator.uniform(1, 5, n),
            "gap_ev": generator.uniform(1, 3, n),
            "gap_ev_std": generator.uniform(0.1, 0.4, n),
            "mismatch_percent": generator.uniform(0, 3, n),
            "number_of_atoms": generator.integers(4, 9, n),
            "pair": [f"p{i % 5}" for i in range(n)],
            "is_high_symmetry": True,
            "binding_below_best_registry_mev_a2": 0.0,
            "sliding_family": [f"f{i // 2}" for i in range(n)],
            "is_novel": False,
            "is_trained": False,
        }
    )


def test_rank_prefers_probability_then_small_cells(scored):
    scored["binding_energy_mev_a2"] = 20.0
    scored["mismatch_percent"] = 1.0
    ranked = rank_candidates(scored)
    assert ranked["rank"].tolist() == list(range(1, 61))
    assert (ranked["probability"].iloc[:20] == 0.95).all()
    assert ranked["number_of_atoms"].iloc[:20].is_monotonic_increasing
    assert ranked["pareto_rank"].iloc[0] == 1
    again = rank_candidates(scored.sample(frac=1, random_state=3))
    assert again["stack_id"].tolist() == ranked["stack_id"].tolist()


def test_pairs_differ_while_others_remain(scored):
    ranked = rank_candidates(scored)
    selected = select_candidates(ranked, 5)
    assert selected["pair"].nunique() == 5
    assert selected["slot"].tolist() == [0, 1, 2, 3, 4]
    seven = select_candidates(ranked, 7)
    assert len(seven) == 7 and seven["pair"].nunique() == 5
    greedy = select_candidates(ranked, 7, diversity=False)
    assert greedy["rank"].tolist() == list(range(1, 8))


def test_an_unlikely_pair_is_not_taken_for_the_sake_of_diversity(scored):
    scored.loc[scored["pair"] == "p4", "probability"] = 0.05
    selected = select_candidates(rank_candidates(scored), 6)
    assert "p4" not in set(selected["pair"])


def test_a_second_slot_waits_for_other_pairs_that_are_about_as_probable(scored):
    """Also among those that are not near the best: here p0 alone is."""
    scored["probability"] = np.where(scored["pair"] == "p0", 0.6, 0.58)
    scored.loc[0, "probability"] = 0.95
    selected = select_candidates(rank_candidates(scored), 5)
    assert selected["stack_id"].iloc[0] == "s00"
    assert selected["pair"].nunique() == 5


def test_stacks_whose_errors_were_measured_come_first(scored):
    scored["is_measured"] = scored["pair"] == "p1"
    ranked = rank_candidates(scored)
    steps = np.floor(ranked["probability"] / 0.02 + 1e-9)
    first = ranked[steps == steps.max()]["is_measured"].tolist()
    assert first == sorted(first, reverse=True) and set(first) == {True, False}
    scored["probability"] = np.where(scored["is_measured"], 0.8, 0.9)  # about as probable
    selected = select_candidates(rank_candidates(scored), 2, diversity=False)
    assert set(selected["pair"]) == {"p1"}
    scored["probability"] = np.where(scored["is_measured"], 0.3, 0.9)
    selected = select_candidates(rank_candidates(scored), 2, diversity=False)
    assert "p1" not in set(selected["pair"])


def test_what_was_not_refined_takes_no_place_in_the_fronts(scored):
    scored["is_refined"] = scored.index < 30
    alone = rank_candidates(scored[scored["is_refined"]]).set_index("stack_id")["pareto_rank"]
    scored.loc[~scored["is_refined"], ["probability", "binding_energy_mev_a2"]] = [1.0, 99.0]
    fronts = rank_candidates(scored).set_index("stack_id")["pareto_rank"]
    assert fronts[alone.index].equals(alone)
    assert fronts.drop(alone.index).min() > alone.max()


def test_fronts_are_of_the_objectives_asked_for(scored):
    table = scored.assign(
        probability=0.8, mismatch_percent=1.0, binding_energy_mev_a2=20.0, is_refined=True,
        formation_energy_ev_atom=np.linspace(-1.0, 1.0, len(scored)),
    )  # fmt: skip
    table.loc[table.index[-1], "formation_energy_ev_atom"] = np.nan
    assert (rank_candidates(table)["pareto_rank"] == 1).all()
    ranked = rank_candidates(table, (), ("formation_energy_ev_atom",))
    first = ranked[ranked["pareto_rank"] == 1]
    assert first["formation_energy_ev_atom"].tolist() == [-1.0]
    last = ranked[ranked["pareto_rank"] == ranked["pareto_rank"].max()]
    assert last["formation_energy_ev_atom"].isna().any(), "what is not known is the worst"
    turned = rank_candidates(table, ("formation_energy_ev_atom",), ())
    known = table["formation_energy_ev_atom"].max()
    assert turned.loc[turned["pareto_rank"] == 1, "formation_energy_ev_atom"].tolist() == [known]


def test_slots_stay_empty_rather_than_go_to_the_hopeless(scored):
    ranked = rank_candidates(scored.assign(probability=np.linspace(0.5, 1e-9, len(scored))))
    ranked.loc[ranked.index[-1], "probability"] = 0.0
    everything = select_candidates(ranked, len(ranked))
    assert len(everything) == len(ranked) - 1, "never what cannot be"
    selected = select_candidates(ranked, len(ranked), minimum_probability=0.25)
    assert 0 < len(selected) < len(ranked) and (selected["probability"] >= 0.25).all()
    assert select_candidates(ranked, 3, minimum_probability=0.9).empty


def test_labelled_stacks_are_never_selected(scored):
    ranked = rank_candidates(scored)
    first = set(select_candidates(ranked, 4)["stack_id"])
    second = select_candidates(ranked, 4, labelled=first)
    assert not first & set(second["stack_id"])
    nothing = select_candidates(ranked, 4, labelled=set(ranked["stack_id"]))
    assert len(nothing) == 0


def test_fewer_candidates_than_slots(scored):
    assert len(select_candidates(rank_candidates(scored.head(3)), 10)) == 3


def test_unseen_and_symmetric_stacks_come_first(scored):
    ranked = rank_candidates(scored)
    trained = set(ranked["stack_id"].iloc[:15])
    selected = select_candidates(ranked, 3, trained=trained, diversity=False)
    assert not trained & set(selected["stack_id"])
    ranked["is_high_symmetry"] = ranked["stack_id"] == ranked["stack_id"].iloc[10]
    selected = select_candidates(ranked, 1)
    assert selected["stack_id"].tolist() == [ranked["stack_id"].iloc[10]]


def test_of_registries_that_slide_into_each_other_the_best_bound_comes_first(scored):
    ranked = rank_candidates(scored)
    best = ranked.index[12]
    ranked.loc[ranked.index != best, "binding_below_best_registry_mev_a2"] = 8.0
    ranked.loc[ranked.index[5], "binding_below_best_registry_mev_a2"] = np.nan  # no symmetry
    ranked.loc[ranked.index[5], "is_high_symmetry"] = False
    # Before novelty: what is new and slides away is not found again.
    seen = {ranked.loc[best, "stack_id"]}
    selected = select_candidates(ranked, 2, trained=seen, diversity=False)
    assert selected["stack_id"].iloc[0] == ranked.loc[best, "stack_id"]
    assert selected["stack_id"].iloc[1] == ranked["stack_id"].iloc[0]
    targets = {"gap_ev": [1.0, 3.0]}
    said = [describe_candidate(row, targets, 60) for row in selected.to_dict("records")]
    assert "no registry it may slide into predicted to bind clearly more" in said[0]
    assert "another registry predicted to bind by 8.0 meV/Å² more" in said[1]
    assert "whose probability" not in said[1]
    row = selected.to_dict("records")[1]
    text = describe_candidate(row, targets, 60, slides=True)
    assert "meV/Å² more, whose probability this is, " in text


def test_unknown_does_not_count_as_staying(scored):
    """Of more than two layers nobody knows what they slide into."""
    scored["probability"] = 0.9
    scored["binding_below_best_registry_mev_a2"] = np.nan
    scored.loc[40, "binding_below_best_registry_mev_a2"] = 0.5
    scored.loc[50, "binding_below_best_registry_mev_a2"] = 9.0
    selected = select_candidates(rank_candidates(scored), 60, diversity=False)
    assert selected["stack_id"].iloc[0] == "s40" and selected["stack_id"].iloc[-1] == "s50"


def test_what_slides_into_each_other_has_one_slot(scored):
    ranked = rank_candidates(scored)
    families = ranked.set_index("stack_id")["sliding_family"]
    apart = select_candidates(ranked, 12, diversity=False, one_registry_each=True)
    assert families[apart["stack_id"]].is_unique
    together = select_candidates(ranked, 12, diversity=False)
    assert not families[together["stack_id"]].is_unique


def test_exploration_takes_the_uncertain_that_may_hit(scored):
    ranked = rank_candidates(scored)
    unlikely = ranked.index[-1]
    ranked.loc[unlikely, ["gap_ev_std", "probability"]] = [50.0, 0.001]
    likely = ranked.index[30]
    ranked.loc[likely, ["gap_ev_std", "probability"]] = [40.0, 0.3]
    selected = select_candidates(ranked, 4, exploration=0.25, diversity=False)
    assert selected["role"].tolist() == ["exploitation"] * 3 + ["exploration"]
    assert selected["stack_id"].iloc[-1] == ranked.loc[likely, "stack_id"]


def test_reason_is_a_sentence_with_numbers(scored):
    ranked = rank_candidates(scored)
    row = select_candidates(ranked, 1).to_dict("records")[0]
    text = describe_candidate(
        row, {"gap_ev": [1.0, 3.0], "binding_energy_mev_a2": [5, None]}, len(ranked)
    )
    assert f"gap {row['gap_ev']:.2f} ± {row['gap_ev_std']:.2f} eV (wanted in 1 to 3)" in text
    assert "(wanted above 5)" in text and "probability 0.95" in text and text.endswith(".")
    dear = describe_candidate(row | {"expected_core_min": 25.6}, {"gap_ev": [1.0, 3.0]}, 60)
    assert dear.endswith(" DFT of it should take about 26 core-minutes.")


def test_reason_says_what_training_lacks(scored):
    row = select_candidates(rank_candidates(scored), 1).to_dict("records")[0]
    targets = {"gap_ev": [1.0, 3.0]}
    known = describe_candidate(row | {"outside_training": ""}, targets, 9)
    assert "Published bilayers" not in known
    assert known.endswith("Published DFT has this pair of layers, perhaps in another registry.")
    row |= {"outside_training": "pair MoS2-3-lg78-2c and WS2-3-lg78-2c; 3 layers"}
    text = describe_candidate(row | {"is_measured": False}, targets, 9)
    assert "has this pair" not in text
    assert text.endswith(
        "Published bilayers that the model learned from lack: pair MoS2 and WS2; 3 layers; errors "
        "of such were not measured."
    )


def test_hard_limits_name_their_reason(small_stacks):
    stacks = small_stacks[:3]
    samples = pd.DataFrame({"number_of_atoms": [6, 9, 6], "mismatch_percent": [0.5, 0.5, 4.0]})
    assert HardLimits(8, 3.0).faults(samples, stacks) == [
        "",
        "more than 8 atoms",
        "mismatch above 3 %",
    ]
    element = stacks[0].species[0]
    faults = HardLimits(8, 3.0, elements_excluded=[element]).faults(samples, stacks)
    assert faults[0] == f"excluded element {element}"


@pytest.mark.parametrize(
    ("species", "balances"),
    [
        (("Se", "Mg", "Se"), True),
        (("S", "Mo", "Se"), True),
        (("Te", "Al", "Al", "Te"), True),
        (("Si", "Si"), True),
        (("Cl", "Na", "Cl"), False),
        (("Ca", "Cl"), False),
    ],
)
def test_new_layers_need_oxidation_states_that_balance(small_monolayers, species, balances):
    known = next(iter(small_monolayers.values()))
    n = len(species)
    new = Monolayer(
        species=species,
        positions=tuple((i / 3, 2 * i / 3) for i in range(n)),
        heights=tuple(1.5 * (i - (n - 1) / 2) for i in range(n)),
        a=known.a,
        b=known.b,
        gamma_deg=120.0,
    )
    samples = pd.DataFrame({"number_of_atoms": [6], "mismatch_percent": [0.0]})
    fault = HardLimits(8, 3.0).faults(samples, [stack_layers([known, new])])[0]
    assert fault == ("" if balances else f"no oxidation states balance in new layer {new.formula}")
    # What a library knows exists, whatever its oxidation states.
    named = stack_layers([known, replace(new, name="known")])
    assert HardLimits(8, 3.0).faults(samples, [named]) == [""]


def test_layers_far_from_the_hull_are_rejected(small_monolayers):
    layers = list(small_monolayers.values())[:2]
    stacks = [stack_layers(layers), stack_layers([layers[0]] * 2)]
    samples = pd.DataFrame({"number_of_atoms": [6, 6], "mismatch_percent": [0.5, 0.0]})
    of_layers = predicting(hull_distance_ev_atom=0.35)
    table = pd.DataFrame({"hull_distance_ev_atom": [0.05, np.nan]}, [la.name for la in layers])
    alone = LayersAlone(table, of_layers)
    limits = HardLimits(8, 3.0, maximum_hull_distance_ev_atom=0.2)
    first, second = limits.faults(samples, stacks, alone)
    assert second == "" and first.endswith(f"convex hull: {layers[1].formula} 0.35 eV/atom")
    limits.faults(samples, stacks, alone)
    assert of_layers.asked == [layers[1]], (
        "what the library knows is not predicted, nor anything twice"
    )
    assert HardLimits(8, 3.0).faults(samples, stacks) == ["", ""]
    unknown = limits.faults(samples, stacks, LayersAlone(table.head(0)))
    assert all("convex hull" in fault for fault in unknown)


def test_what_dft_takes_too_long_for_is_rejected(small_monolayers):
    layers = list(small_monolayers.values())[:2]
    family = "pseudodojo"
    stacks = [stack_layers(layers), stack_layers([layers[0], astatine(layers[1])])]
    samples = pd.DataFrame({"number_of_atoms": [6, 6], "mismatch_percent": [0.5, 0.5]})
    cost = expected_core_min(stacks[0], pseudopotentials=family)
    enough = HardLimits(8, 3.0, maximum_dft_core_min=1.01 * cost, pseudopotentials=family)
    missing = "an element without a pseudopotential in pseudodojo"
    assert enough.faults(samples, stacks) == ["", missing]
    # In whatever registry it is asked for.
    astray = replace(stacks[0].interfaces[0], offset=(0.21, 0.04))
    stacks[0] = replace(stacks[0], interfaces=(astray,))
    assert enough.faults(samples, stacks) == ["", missing]
    less = HardLimits(8, 3.0, maximum_dft_core_min=0.99 * cost, pseudopotentials=family)
    assert "core-minutes" in less.faults(samples, stacks)[0]
    assert HardLimits(8, 3.0).faults(samples, stacks) == ["", ""]


def astatine(layer):
    """A layer of an element without a pseudopotential."""
    return replace(layer, species=("At",) * len(layer.species))


def test_mobility_counts_where_the_carriers_are(small_monolayers):
    channel, barrier = list(small_monolayers.values())[:2]
    stacks = [stack_layers([channel, barrier]), stack_layers([barrier] * 2)]
    samples = pd.DataFrame({"number_of_atoms": [6, 6], "mismatch_percent": [0.5, 0.0]})
    of_layers = predicting(hole_mobility_cm2_vs=300.0)
    table = pd.DataFrame(
        {"is_metal": False, "gap_ev": [1.0, 4.0], "vbm_ev": [-5.0, -6.5], "cbm_ev": [-4.0, -2.5]}
        | {"electron_mobility_cm2_vs": [50.0, 900.0], "hole_mobility_cm2_vs": [20.0, np.nan]},
        [channel.name, barrier.name],
    )
    limits = HardLimits(8, 3.0, minimum_mobility_cm2_vs=200.0)
    alone = LayersAlone(table, of_layers)
    # Both edges are the channel's, so that its barrier's mobility does not help it.
    where = f"electrons on {channel.formula}, holes on {channel.formula}"
    fault = f"no mobility of 200 cm²/(V s): {where}"
    assert limits.faults(samples, stacks, alone) == [fault, ""]
    assert of_layers.asked == [barrier], "what the library knows is not predicted"
    # Of the carriers asked for, and no others: the barrier's electrons or its holes, 900 and 300.
    for asked, least, holds in (
        ("electrons", 400.0, True), ("holes", 400.0, False), ("either", 400.0, True),
        ("both", 400.0, False), ("both", 200.0, True),
    ):  # fmt: skip
        of = HardLimits(8, 3.0, minimum_mobility_cm2_vs=least, mobility_of=asked)
        fault = of.faults(samples, stacks, alone)[1]
        assert (fault == "") == holds, (asked, least)
        assert holds or ("holes on" in fault and ("electrons on" in fault) == (asked == "both"))
    # Its holes may carry; those of the barrier are known to nobody without a model.
    known = LayersAlone(table.assign(hole_mobility_cm2_vs=[250.0, np.nan]))
    assert limits.faults(samples, stacks, known) == ["", ""]
    half_known = table.assign(electron_mobility_cm2_vs=np.nan, hole_mobility_cm2_vs=250.0)
    assert limits.faults(samples, stacks, LayersAlone(half_known)) == ["", ""]
    metal = LayersAlone(table.assign(is_metal=[False, True]), of_layers)
    assert all("no mobility" in fault for fault in limits.faults(samples, stacks, metal))
    unknown = LayersAlone(table.head(0))
    assert all("no mobility" in fault for fault in limits.faults(samples, stacks, unknown))
    assert HardLimits(8, 3.0).faults(samples, stacks) == ["", ""]


def test_stacks_of_one_material_are_no_heterostructures(small_stacks):
    of_one = [len({la.monolayer.key() for la in s.layers}) == 1 for s in small_stacks]
    assert any(of_one) and not all(of_one)
    samples = pd.DataFrame({"number_of_atoms": 4, "mismatch_percent": 0.0}, small_stacks)
    faults = HardLimits(8, 3.0, minimum_materials=2).faults(samples, small_stacks)
    assert [fault == "fewer than 2 different monolayers" for fault in faults] == of_one
