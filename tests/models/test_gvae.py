"""The generative model: what it reads, what it writes, how it is trained and resumed."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from heteroforge.evaluation.generation import (
    reconstruct,
    reconstruction_metrics,
    reconstruction_table,
)
from heteroforge.graphs import GraphStore, available_backends, stack_graph
from heteroforge.models.catalogue import Catalogue, StackCode, has_mirror_plane
from heteroforge.models.gvae import GVAE, GVAESettings, LibraryBatch, StackData, _pick_layers
from heteroforge.models.gvae_training import (
    best_labels,
    encode_stacks,
    load_gvae,
    prepare_stacks,
    save_gvae,
    train_gvae,
)
from heteroforge.structures import Layer, Monolayer, StructureError, build
from heteroforge.structures.matching import stack_layers


def test_catalogue_code_is_invertible(small_catalogue, small_stacks):
    for stack in small_stacks:
        made = small_catalogue.decode(small_catalogue.encode(stack))
        assert made.key() == stack.key()
        assert made.a == pytest.approx(stack.a, abs=1e-9)
        assert np.allclose(build(made).positions, build(stack).positions, atol=1e-6)


def test_catalogue_lists_both_faces_of_janus_layers_only(small_catalogue):
    flipped = [name for name, turned in small_catalogue.entries if turned]
    assert flipped == ["MoSeS"]


def test_layer_outside_the_library_is_named(small_catalogue, small_stacks):
    stranger = replace(small_stacks[0].layers[0].monolayer, name="stranger")
    stack = replace(small_stacks[0], layers=(Layer(stranger), small_stacks[0].layers[1]))
    with pytest.raises(StructureError, match="stranger"):
        small_catalogue.encode(stack)
    stacks, kept, reasons = prepare_stacks(
        [small_stacks[0].to_json(), stack.to_json(inline_monolayers=True)], small_catalogue
    )
    assert len(stacks) == 1 and kept.tolist() == [0] and "stranger" in reasons[0]


def test_octahedral_layer_has_no_mirror_plane():
    octahedral = Monolayer(
        species=("S", "Zr", "S"),
        positions=((1 / 3, 2 / 3), (0.0, 0.0), (2 / 3, 1 / 3)),
        heights=(-1.45, 0.0, 1.45),
        a=3.68,
        b=3.68,
        gamma_deg=120.0,
        name="ZrS2",
    )
    assert octahedral.has_equal_faces and not has_mirror_plane(octahedral)


def test_three_layers_are_coded_and_decoded(small_catalogue, small_monolayers):
    names = ("MoSS", "WSS", "MoSeS")
    stack = stack_layers(
        [small_monolayers[name] for name in names],
        registries=[(1 / 3, 2 / 3), (2 / 3, 1 / 3)],
        flipped=[False, False, True],
        stiffness_n_m=[120.0] * 3,
    )
    made = small_catalogue.decode(small_catalogue.encode(stack))
    assert made.key() == stack.key()
    data = StackData([stack], small_catalogue, maximum_layers=3)
    settings = GVAESettings(
        latent_dimensions=16,
        entry_features=small_catalogue.entry_features.shape[1],
        fewest_layers=2,
        maximum_layers=3,
    )
    model = GVAE(settings)
    library = LibraryBatch.of(small_catalogue)
    total, terms, _ = model.loss(data.batch([0]), library, 0.1, 0.0)
    total.backward()
    assert torch.isfinite(total) and terms["layers"] > 0
    encoded = model.encode_library(library)
    decoded = model.decode(torch.randn(20, 16), encoded, small_catalogue)
    counts = {len(code.entries) for code in decoded.codes if code is not None}
    assert counts <= {2, 3} and counts


def test_too_few_latent_dimensions_are_refused():
    with pytest.raises(ValueError, match="latent_dimensions = 6: stacks of 4 layers"):
        GVAESettings(latent_dimensions=6, maximum_layers=4)


def test_best_path_respects_what_fits():
    generator = np.random.default_rng(0)
    logits = generator.standard_normal((40, 3, 6))
    fits = generator.random((6, 6)) < 0.4
    paths = _pick_layers(logits, np.full(40, 3), fits, None, 1.0)
    for row, path in zip(logits, paths, strict=True):
        options = {
            (a, b, c): row[0, a] + row[1, b] + row[2, c]
            for a in range(6)
            for b in range(6)
            for c in range(6)
            if fits[a, b] and fits[b, c]
        }
        assert path == max(options, key=options.get)


def test_held_out_pair_is_reconstructed(small_gvae, small_split, small_catalogue):
    for stacks in small_split:
        made = reconstruct(small_gvae, stacks, small_catalogue)
        metrics = reconstruction_metrics(reconstruction_table(stacks, made, small_catalogue))
        assert metrics["built"] == 1.0
        assert metrics["layers"] >= 0.95
        assert metrics["face_order"] >= 0.95
        assert metrics["cell"] >= 0.9
        assert metrics["registry"] >= 0.85
        assert metrics["gap_mae_a"] < 0.1


def test_latent_tells_the_property(small_gvae, small_properties):
    expected = small_gvae.expect(small_gvae.latents)["gap_ev"]
    true = small_properties["gap_ev"][: len(expected)]
    assert np.corrcoef(expected, true)[0, 1] > 0.9


def test_decoding_the_prior_gives_structures(small_gvae, small_catalogue):
    generator = np.random.default_rng(0)
    latents = torch.from_numpy(generator.standard_normal((100, 12)).astype(np.float32))
    with torch.no_grad():
        encoded = small_gvae.model.encode_library(LibraryBatch.of(small_catalogue))
    decoded = small_gvae.model.decode(latents, encoded, small_catalogue)
    stacks = [small_catalogue.decode(code) for code in decoded.codes if code is not None]
    assert len(stacks) == 100
    for stack in stacks:
        assert len(build(stack)) == stack.number_of_atoms
    drawn = small_gvae.model.decode(
        latents, encoded, small_catalogue, generator=np.random.default_rng(1)
    )
    again = small_gvae.model.decode(
        latents, encoded, small_catalogue, generator=np.random.default_rng(1)
    )
    assert drawn.codes == again.codes


def test_tensors_are_made_on_the_device_of_the_model(small_gvae, small_catalogue, small_split):
    library = LibraryBatch.of(small_catalogue)
    data = StackData(small_split[1], small_catalogue)

    def written():
        latents = torch.from_numpy(encode_stacks(small_gvae.model, data, library))
        encoded = small_gvae.model.encode_library(library)
        return small_gvae.model.decode(latents, encoded, small_catalogue).codes

    expected = written()
    # What is made without saying where does not fit to the rest.
    with torch.device("meta"):
        assert written() == expected


def test_monolayers_that_training_never_saw_can_be_picked(
    small_gvae, small_monolayers, small_matches, small_table
):
    new = replace(small_monolayers["WSS"], species=("S", "Mo", "Se"), name="new")
    matches = small_matches[small_matches["bottom"] == "WSS"].assign(bottom="new")
    library = {"new": new, **small_monolayers}
    catalogue = Catalogue(library, matches, small_table)
    with torch.no_grad():
        encoded = small_gvae.model.encode_library(LibraryBatch.of(catalogue))
    latents = torch.randn(200, 12, generator=torch.Generator().manual_seed(0))
    decoded = small_gvae.model.decode(latents, encoded, catalogue)
    picked = {catalogue.entries[e][0] for code in decoded.codes if code for e in code.entries}
    assert "new" in picked


def test_embedding_of_the_stack_does_not_depend_on_the_backend(
    small_gvae, small_catalogue, small_stacks
):
    if "dgl" not in available_backends():
        pytest.skip("DGL is not installed")
    store = GraphStore([stack_graph(stack) for stack in small_stacks[:5]])
    with torch.no_grad():
        states = [small_gvae.model.atoms(store.batch(backend=b)) for b in ("dgl", "torch")]
    assert torch.allclose(*states, atol=1e-4)


def _short(small_split, small_catalogue, small_properties, **options):
    arguments = {
        "latent_dimensions": 6, "number_of_layers": (2, 2), "epochs": 4, "batch_size": 32,
        "learning_rate": 0.005, "kl_weight": 0.05, "seed": 5, "width": 16, "progress": False,
    }  # fmt: skip
    return train_gvae(*small_split, small_catalogue, small_properties, **(arguments | options))


def test_same_seed_same_weights(small_split, small_catalogue, small_properties, tmp_path):
    first = _short(small_split, small_catalogue, small_properties)
    second = _short(small_split, small_catalogue, small_properties)
    other = _short(small_split, small_catalogue, small_properties, seed=6)
    for one, two in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(first.model.count_head[0].weight, other.model.count_head[0].weight)
    save_gvae(tmp_path / "model.pt", first)
    loaded = load_gvae(tmp_path / "model.pt")
    assert np.allclose(loaded.latents, first.latents)
    assert loaded.history.rows == first.history.rows
    assert np.allclose(
        loaded.expect(loaded.latents)["gap_ev"], first.expect(first.latents)["gap_ev"]
    )


def test_best_labels_prefer_dft_and_shift_what_is_published():
    import pandas as pd

    rows = [
        (f"s{i}", "gap_ev", value, fidelity)
        for i in range(6)
        for value, fidelity in ((1.0 + i, "published"), (1.5 + i, "dft"))
    ]
    rows.append(("new", "gap_ev", 3.0, "published"))
    rows += [(key, "gap_ev", 2.0, "baseline") for key in ("new", "layer alone")]
    labels = pd.DataFrame(rows, columns=["stack_id", "property", "value", "fidelity"])
    keys = ["s0", "new", "layer alone", "unknown"]
    values = best_labels(labels, keys, ["gap_ev", "vbm_ev"])
    assert values[0, 0] == pytest.approx(1.5)
    assert values[1, 0] == pytest.approx(3.5)
    assert values[2, 0] == 2.0  # of a layer alone the library's own value, which nothing shifts
    assert np.isnan(values[3, 0]) and np.isnan(values[:, 1]).all()


def test_code_of_one_layer(small_catalogue, small_monolayers):
    stack = stack_layers([small_monolayers["MoSS"]])
    code = small_catalogue.encode(stack)
    assert code == StackCode((0,), (), (), ())
    assert small_catalogue.decode(code).key() == stack.key()


def test_polymorphs_of_one_composition_and_lattice_are_told_apart(small_monolayers):
    """2H and 1T MoS2 with the same cell, heights and unknown properties."""
    two = small_monolayers["MoSS"]
    one = replace(two, name="1T", positions=((0.0, 0.0), (1 / 3, 2 / 3), (2 / 3, 1 / 3)))
    catalogue = Catalogue({two.name: two, one.name: one}, pd.DataFrame())
    first, second = catalogue.entry_features
    assert np.abs(first - second).max() == 1.0
