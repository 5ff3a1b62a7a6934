"""Generative model of stacks: a graph variational auto-encoder with a pointer decoder.

The encoder passes messages over the atoms of the free layers, then across the interfaces, then
from layer to layer. The decoder writes a stack in one pass: the number of layers; per layer a
query that is compared with the encoded monolayers of the library, so that layers no training
stack held can be picked; per interface one of the pair's commensurate cells, a registry and a
gap. Layers are only picked in pairs that share a cell, so a decoded stack can be built.

The latent has a place for every layer and every interface, filled and read by networks that all
layers (all interfaces) share. What is learned of a layer in one pair so holds in pairs that
training never saw: without it held-out pairs were reconstructed in one case of four.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from torch import nn

from heteroforge.graphs import GraphBatch, GraphStore, stack_graph
from heteroforge.models.catalogue import MATCH_FEATURES, Catalogue, StackCode
from heteroforge.models.encoder import AtomEncoder, Filter, multilayer_perceptron
from heteroforge.structures import Stack
from heteroforge.structures.stack import MAXIMUM_LAYERS

__all__ = ["Decoded", "GVAE", "GVAESettings", "LibraryBatch", "StackBatch", "StackData"]

# Widths of the decoder's Gaussians: what counts as a hit of registry (sin, cos) and gap (Å).
REGISTRY_WIDTH = 0.2
GAP_WIDTH_A = 0.1
PROPERTY_WIDTH = 0.3
START_LOG_VARIANCE = -5.0
# A wrong layer or cell is another stack, a registry that is a little off is not.
CHOICES, CHOICE_WEIGHT = ("count", "layers", "match"), 4.0
# Pairs scored per sample: the best of each layer's picks, so that cost stays linear in the
# library.
SHORT_LIST = 24


@dataclass(frozen=True)
class GVAESettings:
    """Hyper-parameters that make the network what it is."""

    latent_dimensions: int = 12
    width: int = 64
    key_width: int = 32
    depth: int = 2
    entry_features: int = 14
    properties: tuple[str, ...] = ()
    fewest_layers: int = 2
    maximum_layers: int = 2

    def __post_init__(self) -> None:
        if not 1 <= self.fewest_layers <= self.maximum_layers <= MAXIMUM_LAYERS:
            raise ValueError(
                f"number of layers [{self.fewest_layers}, {self.maximum_layers}]: expected "
                f"1 ≤ fewest ≤ most ≤ {MAXIMUM_LAYERS}"
            )
        if self.layer_dimensions < 2:
            least = 2 * (2 * self.maximum_layers - 1) + self._choice
            raise ValueError(
                f"latent_dimensions = {self.latent_dimensions}: stacks of {self.maximum_layers} "
                f"layers need at least {least}"
            )

    @property
    def _choice(self) -> int:
        return int(self.fewest_layers < self.maximum_layers)

    @property
    def layer_dimensions(self) -> int:
        """Latent dimensions of one layer."""
        return (self.latent_dimensions - self._choice) // (2 * self.maximum_layers - 1)

    @property
    def interface_dimensions(self) -> int:
        """Latent dimensions of one interface."""
        if self.maximum_layers == 1:
            return 0
        rest = self.latent_dimensions - self._choice - self.maximum_layers * self.layer_dimensions
        return rest // (self.maximum_layers - 1)

    @property
    def global_dimensions(self) -> int:
        """Latent dimensions of the stack as a whole: its number of layers."""
        return (
            self.latent_dimensions
            - self.maximum_layers * self.layer_dimensions
            - (self.maximum_layers - 1) * self.interface_dimensions
        )

    def to_dict(self) -> dict:
        return asdict(self) | {"properties": list(self.properties)}

    @classmethod
    def from_dict(cls, data: dict) -> GVAESettings:
        return cls(**(data | {"properties": tuple(data["properties"])}))


@dataclass
class LibraryBatch:
    """The oriented monolayers of a catalogue as tensors."""

    graph: GraphBatch
    features: torch.Tensor

    @classmethod
    def of(cls, catalogue: Catalogue, device: torch.device | str = "cpu") -> LibraryBatch:
        return cls(
            graph=catalogue.graphs.batch(device=device),
            features=torch.from_numpy(catalogue.entry_features).to(device),
        )


@dataclass
class StackBatch:
    """Stacks as tensors; L layers at most, C candidate cells per interface at most.

    Attributes:
        count: number of layers (b).
        entries: oriented monolayers (b, L), 0 where there is no layer.
        layer_mask, interface_mask: which of them exist (b, L), (b, L − 1).
        candidates: features of the candidate cells (b, L − 1, C, features).
        candidate_mask: which of them exist (b, L − 1, C).
        matches: the cell taken (b, L − 1).
        registries: (b, L − 1, 2).
        gap_excess_a: (b, L − 1).
        properties: standardised, NaN where unknown (b, p).
        contacts: graph of the edges that cross interfaces.
        library_atoms: the atom of the library's graph that each atom is a copy of (n).
    """

    count: torch.Tensor
    entries: torch.Tensor
    layer_mask: torch.Tensor
    interface_mask: torch.Tensor
    candidates: torch.Tensor
    candidate_mask: torch.Tensor
    matches: torch.Tensor
    registries: torch.Tensor
    gap_excess_a: torch.Tensor
    properties: torch.Tensor
    contacts: GraphBatch
    library_atoms: torch.Tensor


class StackData:
    """Stacks prepared for the network, from which batches are cut.

    Args:
        stacks: what to hold.
        catalogue: the library; every stack must be made of it.
        properties: standardised values (stacks, p), NaN where unknown.
    """

    def __init__(
        self,
        stacks: Sequence[Stack],
        catalogue: Catalogue,
        properties: np.ndarray | None = None,
        maximum_layers: int = 2,
    ) -> None:
        n, layers, faces = len(stacks), maximum_layers, maximum_layers - 1
        most = max(catalogue.most_candidates, 1)
        self.codes = [catalogue.encode(stack) for stack in stacks]
        self.count = np.array([len(code.entries) for code in self.codes])
        self.entries = np.zeros((n, layers), dtype=np.int64)
        self.candidates = np.zeros((n, faces, most, MATCH_FEATURES), dtype=np.float32)
        self.candidate_mask = np.zeros((n, faces, most), dtype=bool)
        self.matches = np.zeros((n, faces), dtype=np.int64)
        self.registries = np.zeros((n, faces, 2), dtype=np.float32)
        self.gap_excess_a = np.zeros((n, faces), dtype=np.float32)
        self.properties = np.zeros((n, 0), dtype=np.float32)
        if properties is not None:
            self.properties = np.asarray(properties, dtype=np.float32)
        graphs, copies = [], []
        first = catalogue.graphs.atom_start
        for i, (given, code) in enumerate(zip(stacks, self.codes, strict=True)):
            stack, k = catalogue.defects_as_layers(given), len(code.entries)
            self.entries[i, :k] = code.entries
            self.matches[i, : k - 1] = code.matches
            self.registries[i, : k - 1] = np.reshape(code.registries, (k - 1, 2))
            self.gap_excess_a[i, : k - 1] = code.gap_excess_a
            for j in range(k - 1):
                features = catalogue.match_features(code.entries[j], code.entries[j + 1])
                self.candidates[i, j, : len(features)] = features
                self.candidate_mask[i, j, : len(features)] = True
            # No edges within the layers: the states of their atoms come from the library.
            graphs.append(stack_graph(stack, cutoff_a=0.1))
            copies += [
                first[entry] + np.tile(np.arange(first[entry + 1] - first[entry]), cells)
                for entry, cells in zip(
                    code.entries, (layer.number_of_cells for layer in stack.layers), strict=True
                )
            ]
        self.store = GraphStore(graphs)
        self.library_atoms = np.concatenate(copies)

    def __len__(self) -> int:
        return len(self.count)

    def batch(
        self, indices: Sequence[int] | np.ndarray, device: torch.device | str = "cpu"
    ) -> StackBatch:
        indices = np.asarray(indices, dtype=int)
        start = self.store.atom_start
        atoms = np.concatenate([np.arange(start[i], start[i + 1]) for i in indices])
        layers = np.arange(self.entries.shape[1])[None, :]
        layer_mask = layers < self.count[indices][:, None]

        def tensor(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(values)).to(device)

        return StackBatch(
            count=tensor(self.count[indices]),
            entries=tensor(self.entries[indices]),
            layer_mask=tensor(layer_mask),
            interface_mask=tensor(layer_mask[:, 1:]),
            candidates=tensor(self.candidates[indices]),
            candidate_mask=tensor(self.candidate_mask[indices]),
            matches=tensor(self.matches[indices]),
            registries=tensor(self.registries[indices]),
            gap_excess_a=tensor(self.gap_excess_a[indices]),
            properties=tensor(self.properties[indices]),
            contacts=self.store.batch(indices, device=device),
            library_atoms=tensor(self.library_atoms[atoms]),
        )


@dataclass
class Decoded:
    """What the decoder wrote for each latent: a code, or None where nothing could be built."""

    codes: list[StackCode | None]


class GVAE(nn.Module):
    """Encoder and decoder; see the module's docstring."""

    def __init__(self, settings: GVAESettings) -> None:
        super().__init__()
        self.settings = settings
        width, key, latent = settings.width, settings.key_width, settings.latent_dimensions
        layers = settings.maximum_layers
        per_layer, per_interface = settings.layer_dimensions, settings.interface_dimensions
        self.atoms = AtomEncoder(width, settings.depth, signed=True)
        # Smallest and largest gap excess (Å) of the training stacks: the decoder stays within.
        self.register_buffer("gap_range", torch.tensor([-1.0, 1.0]))
        self.summary = multilayer_perceptron(2 * width + settings.entry_features, width, width)
        self.key = nn.Linear(width, key)
        self.key_norm = nn.LayerNorm(key)
        self.contact_filter = Filter(width, signed=True)
        self.contact_sender = nn.Linear(width, width)
        self.felt_norm = nn.LayerNorm(width)
        self.interface = multilayer_perceptron(2 * width + MATCH_FEATURES + 9, width, width)
        self.layer_update = multilayer_perceptron(3 * width, width, width)
        # Means and log variances.
        self.layer_latent = multilayer_perceptron(width + key, width, 2 * per_layer)
        self.interface_latent = multilayer_perceptron(
            3 * width + MATCH_FEATURES + 9, 2 * width, 2 * max(per_interface, 1)
        )
        self.global_latent = None
        if settings.global_dimensions:
            self.global_latent = nn.Linear(layers + width, 2 * settings.global_dimensions)
        self.query = multilayer_perceptron(per_layer, 2 * width, 2 * width, key)
        self.temperature = nn.Parameter(torch.tensor(1.0))
        self.count_head = multilayer_perceptron(max(settings.global_dimensions, 1), width, layers)
        pair = per_interface + 2 * key
        self.match_query = multilayer_perceptron(pair, 2 * width, key)
        self.match_key = multilayer_perceptron(MATCH_FEATURES, width, key)
        self.interface_head = multilayer_perceptron(pair + MATCH_FEATURES, 2 * width, width, 5)
        self.property_head = multilayer_perceptron(
            latent, 2 * width, width, max(len(settings.properties), 1)
        )

    # --- encoder ------------------------------------------------------------------------------

    def encode_library(
        self, library: LibraryBatch
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """States of the library's atoms (n, w), of its oriented layers (e, w), and keys (e, k)."""
        atoms = self.atoms(library.graph)
        graph = library.graph
        mean = graph.pool_graphs(atoms)
        # The height-weighted mean tells the faces of a Janus layer apart.
        moment = graph.pool_graphs(atoms * graph.heights[:, None] / 2.0)
        layers = self.summary(torch.cat([mean, moment, library.features], dim=1))
        return atoms, layers, self.key_norm(self.key(layers))

    def encode(
        self, batch: StackBatch, encoded: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log variance (b, latent) of the posterior."""
        atoms, layers, keys = encoded
        b, most = batch.entries.shape
        contacts = batch.contacts
        sent = self.contact_sender(atoms[batch.library_atoms])
        weights = self.contact_filter(contacts)
        from_above = (contacts.rises > 0).float()[:, None]
        felt_above = contacts.pool_layers(contacts.pass_messages(sent, weights * from_above), most)
        felt_below = contacts.pool_layers(
            contacts.pass_messages(sent, weights * (1 - from_above)), most
        )
        match = torch.gather(
            batch.candidates,
            2,
            batch.matches[:, :, None, None].expand(-1, -1, 1, batch.candidates.shape[-1]),
        )[:, :, 0]
        angle = 2 * torch.pi * batch.registries
        registry = torch.cat(
            [torch.cos(angle), torch.sin(angle), torch.cos(2 * angle), torch.sin(2 * angle)], dim=-1
        )
        gap = (batch.gap_excess_a / 0.3)[..., None]
        felt_above, felt_below = self.felt_norm(felt_above), self.felt_norm(felt_below)
        geometry = torch.cat([match, registry, gap], dim=-1)
        interfaces = self.interface(
            torch.cat([felt_above[:, :-1], felt_below[:, 1:], geometry], dim=-1)
        )
        interfaces = interfaces * batch.interface_mask[..., None]
        mask = batch.layer_mask[..., None].float()
        own = layers[batch.entries] * mask
        none = own.new_zeros(b, 1, interfaces.shape[-1])
        below = torch.cat([none, interfaces], dim=1)
        above = torch.cat([interfaces, none], dim=1)
        felt = own + self.layer_update(torch.cat([own, below, above], dim=-1)) * mask
        # Where a layer or an interface does not exist its place keeps the prior.
        by_layer = self.layer_latent(torch.cat([own, keys[batch.entries]], dim=-1)) * mask
        by_interface = self.interface_latent(
            torch.cat([interfaces, felt[:, :-1], felt[:, 1:], geometry], dim=-1)
        )
        by_interface = by_interface * batch.interface_mask[..., None]
        count = nn.functional.one_hot(batch.count - 1, most).float()
        parts = [part.chunk(2, dim=-1) for part in (by_layer, by_interface)]
        if self.global_latent is not None:
            whole = self.global_latent(torch.cat([count, felt.mean(1)], dim=1))
            parts.append(whole.chunk(2, dim=-1))
        mean = torch.cat([part[0].flatten(1) for part in parts], dim=1)
        log_variance = torch.cat([part[1].flatten(1) for part in parts], dim=1)
        # Training starts near an auto-encoder without noise: places that begin as noisy as the
        # prior were given up before their layers were learned.
        return mean, (log_variance + START_LOG_VARIANCE).clamp(-9.0, 4.0)

    # --- decoder ------------------------------------------------------------------------------

    def split(self, latent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Latents of layers (b, L, d), interfaces (b, L − 1, d′) and the whole (b, d″)."""
        settings = self.settings
        layers, faces = settings.maximum_layers, settings.maximum_layers - 1
        first = layers * settings.layer_dimensions
        second = first + faces * settings.interface_dimensions
        b = len(latent)
        return (
            latent[:, :first].reshape(b, layers, settings.layer_dimensions),
            latent[:, first:second].reshape(b, faces, settings.interface_dimensions),
            latent[:, second:],
        )

    def count_logits(self, whole: torch.Tensor) -> torch.Tensor:
        """Logits (b, L) of the number of layers."""
        settings = self.settings
        if settings.global_dimensions == 0:
            whole = whole.new_zeros(len(whole), 1)
        logits = self.count_head(whole)
        allowed = torch.arange(1, settings.maximum_layers + 1, device=whole.device)
        return logits.masked_fill(allowed < settings.fewest_layers, -1e9)

    def layer_logits(self, by_layer: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """Logits (b, L, e) of the oriented monolayers for each layer."""
        settings = self.settings
        query = self.query(by_layer)
        scale = nn.functional.softplus(self.temperature) / settings.key_width**0.5
        return torch.einsum("blk,ek->ble", query, keys) * scale

    def library_loss(
        self, encoded: tuple[torch.Tensor, torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        """Mean negative log-likelihood of every oriented monolayer given its own latent.

        So that layers of no training stack find their place in the latent space too.
        """
        _, layers, keys = encoded
        own, _ = self.layer_latent(torch.cat([layers, keys], dim=-1)).chunk(2, dim=-1)
        logits = self.layer_logits(own[:, None], keys)[:, 0]
        return nn.functional.cross_entropy(logits, torch.arange(len(keys), device=keys.device))

    def match_logits(self, context: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """Logits (b, C) of the candidate cells with features (b, C, f)."""
        return torch.einsum("bk,bck->bc", self.match_query(context), self.match_key(features))

    def loss(
        self,
        batch: StackBatch,
        library: LibraryBatch,
        kl_weight: float,
        free_bits: float,
        noise: bool = True,
    ) -> tuple[torch.Tensor, dict[str, float], dict[str, torch.Tensor]]:
        """Evidence bound of a batch, its terms as numbers, and tensors for the metrics.

        The terms are mean negative log-likelihoods per stack: categorical for number of layers,
        layers and cells; Gaussian for registry (as sine and cosine), gap and properties.
        """
        encoded = self.encode_library(library)
        keys = encoded[2]
        mean, log_variance = self.encode(batch, encoded)
        latent = mean
        if noise:
            latent = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        by_layer, by_interface, whole = self.split(latent)
        cross_entropy = nn.functional.cross_entropy
        terms = {"count": cross_entropy(self.count_logits(whole), batch.count - 1)}
        logits = self.layer_logits(by_layer, keys)
        per_layer = cross_entropy(logits.transpose(1, 2), batch.entries, reduction="none")
        b = len(batch.count)
        terms["layers"] = (per_layer * batch.layer_mask).sum() / b
        terms["library"] = self.library_loss(encoded)
        terms["match"] = terms["registry"] = terms["gap"] = latent.new_zeros(())
        for i in range(batch.entries.shape[1] - 1):
            rows = torch.nonzero(batch.interface_mask[:, i])[:, 0]
            if len(rows) == 0:
                continue
            context = torch.cat(
                [
                    by_interface[rows, i],
                    keys[batch.entries[rows, i]],
                    keys[batch.entries[rows, i + 1]],
                ],
                dim=-1,
            )
            features = batch.candidates[rows, i]
            scores = self.match_logits(context, features)
            scores = scores.masked_fill(~batch.candidate_mask[rows, i], -1e9)
            chosen = batch.matches[rows, i]
            terms["match"] = terms["match"] + cross_entropy(scores, chosen, reduction="sum") / b
            taken = features[torch.arange(len(rows)), chosen]
            output = self.interface_head(torch.cat([context, taken], dim=-1))
            angle = 2 * torch.pi * batch.registries[rows, i]
            wanted = torch.cat([torch.cos(angle), torch.sin(angle)], dim=-1)
            miss = ((output[:, :4] - wanted) ** 2).sum(-1) / (2 * REGISTRY_WIDTH**2)
            terms["registry"] = terms["registry"] + miss.sum() / b
            miss = (output[:, 4] * 0.3 - batch.gap_excess_a[rows, i]) ** 2 / (2 * GAP_WIDTH_A**2)
            terms["gap"] = terms["gap"] + miss.sum() / b
        terms["property"] = latent.new_zeros(())
        if batch.properties.shape[1]:
            known = ~torch.isnan(batch.properties)
            predicted = self.property_head(latent)
            miss = torch.where(known, predicted - batch.properties.nan_to_num(0.0), 0.0) ** 2
            terms["property"] = (miss.sum(1) / (2 * PROPERTY_WIDTH**2)).mean()
        kl = 0.5 * (mean**2 + log_variance.exp() - log_variance - 1.0)
        kl_dimension = kl.mean(0)
        # Below the free bits a dimension costs nothing, so that it is not given up early.
        terms["kl"] = kl_dimension.clamp(min=free_bits).sum()
        total = kl_weight * terms["kl"]
        for key, value in terms.items():
            if key != "kl":
                total = total + (CHOICE_WEIGHT if key in CHOICES else 1.0) * value
        numbers = {key: float(value.detach()) for key, value in terms.items()}
        numbers["kl"] = float(kl_dimension.sum().detach())
        numbers["loss"] = float(total.detach())
        return total, numbers, {"mean": mean, "kl_dimension": kl_dimension}

    @torch.no_grad()
    def decode(
        self,
        latent: torch.Tensor,
        encoded: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        catalogue: Catalogue,
        generator: np.random.Generator | None = None,
        number_of_layers: tuple[int, int] | None = None,
        temperature: float = 1.0,
        allowed: Mapping[int, Sequence[int]] | None = None,
    ) -> Decoded:
        """Stacks of latents (b, latent), written in one pass.

        Args:
            latent: what to decode.
            encoded: `encode_library` of the catalogue's library.
            catalogue: what to pick from; may hold monolayers that training never saw.
            generator: draws the picks from their distributions; None takes the likeliest.
            number_of_layers: [fewest, most] layers; the network's own choice by default.
            temperature: of the draws; below 1 they are nearer to the likeliest.
            allowed: by layer, from 0 for the lowest, the entries that it is picked from; all by
                default.
        """
        settings, keys = self.settings, encoded[2]
        by_layer, by_interface, whole = self.split(latent)
        counts = self.count_logits(whole).log_softmax(-1)
        if number_of_layers is not None:
            possible = torch.arange(1, settings.maximum_layers + 1)
            outside = (possible < number_of_layers[0]) | (possible > number_of_layers[1])
            counts = counts.masked_fill(outside.to(counts.device), -1e9)
        count = _pick(counts.cpu().numpy(), generator, temperature) + 1
        logits = self.layer_logits(by_layer, keys).log_softmax(-1).cpu().numpy()
        for layer, entries in (allowed or {}).items():
            logits[:, layer, np.setdiff1d(np.arange(logits.shape[2]), entries)] = -1e9
        paths = _pick_layers(logits, count, catalogue.stackable, generator, temperature)
        b, most = len(latent), settings.maximum_layers
        matches = np.zeros((b, most - 1), dtype=int)
        outputs = np.zeros((b, most - 1, 5), dtype=np.float32)
        possible = np.array([path is not None for path in paths], dtype=bool)
        for i in range(most - 1):
            rows = np.flatnonzero(possible & (count > i + 1))
            if len(rows) == 0:
                continue
            pairs = np.array([paths[r][i : i + 2] for r in rows])
            index = torch.from_numpy(rows).to(latent.device)
            pair_index = torch.from_numpy(pairs).to(latent.device)
            context = torch.cat(
                [by_interface[index, i], keys[pair_index[:, 0]], keys[pair_index[:, 1]]], dim=-1
            )
            found = [catalogue.match_features(int(lower), int(upper)) for lower, upper in pairs]
            widest = max(len(f) for f in found)
            features = np.zeros((len(rows), widest, MATCH_FEATURES), dtype=np.float32)
            missing = np.ones((len(rows), widest), dtype=bool)
            for row, own in enumerate(found):
                features[row, : len(own)] = own
                missing[row, : len(own)] = False
            features = torch.from_numpy(features).to(latent.device)
            score = self.match_logits(context, features).cpu().numpy()
            score[missing] = -1e9
            chosen = _pick(score, generator, temperature)
            matches[rows, i] = chosen
            picked = torch.from_numpy(chosen).to(latent.device)
            taken = features[torch.arange(len(rows), device=latent.device), picked]
            outputs[rows, i] = (
                self.interface_head(torch.cat([context, taken], dim=-1)).cpu().numpy()
            )
        registries = np.arctan2(outputs[..., 2:4], outputs[..., :2]) / (2 * np.pi) % 1.0
        low, high = self.gap_range.tolist()
        gaps = np.clip(outputs[..., 4] * 0.3, low, high)
        codes: list[StackCode | None] = []
        written = zip(paths, matches.tolist(), registries.tolist(), gaps.tolist(), strict=True)
        for path, cells, places, excess in written:
            if path is None:
                codes.append(None)
                continue
            faces = len(path) - 1
            codes.append(
                StackCode(
                    entries=path,
                    matches=tuple(cells[:faces]),
                    registries=tuple(map(tuple, places[:faces])),
                    gap_excess_a=tuple(excess[:faces]),
                )
            )
        return Decoded(codes)


def _pick(
    logits: np.ndarray, generator: np.random.Generator | None, temperature: float
) -> np.ndarray:
    """Index per row: the largest, or drawn with the softmax's probabilities (Gumbel)."""
    if generator is None:
        return logits.argmax(-1)
    noise = -np.log(-np.log(generator.random(logits.shape) + 1e-12) + 1e-12)
    return (logits / temperature + noise).argmax(-1)


def _pick_layers(
    logits: np.ndarray,
    count: np.ndarray,
    stackable: np.ndarray,
    generator: np.random.Generator | None,
    temperature: float,
) -> list[tuple[int, ...] | None]:
    """Likeliest (or drawn) layers of which each fits on the one below: Viterbi on short lists.

    With noise from Gumbel's distribution on every layer's logits the best path is a draw.

    Args:
        logits: (b, L, e) log-probabilities.
        count: layers per stack (b).
        stackable: (e, e), [lower, upper].
    """
    if generator is not None:
        noise = -np.log(-np.log(generator.random(logits.shape) + 1e-12) + 1e-12)
        logits = logits / temperature + noise
    b, most, entries = logits.shape
    short = min(SHORT_LIST, entries)
    listed = np.argsort(-logits, axis=-1, kind="stable")[..., :short]
    paths: list[tuple[int, ...] | None] = []
    rows = np.arange(b)[:, None]
    value = np.take_along_axis(logits, listed, -1)
    best = [value[:, 0]]
    back = []
    for i in range(1, most):
        fits = stackable[listed[:, i - 1][:, :, None], listed[:, i][:, None, :]]
        total = np.where(fits, best[-1][:, :, None], -np.inf)
        back.append(total.argmax(1))
        best.append(total.max(1) + value[:, i])
    for row in rows[:, 0]:
        last = count[row] - 1
        state = int(best[last][row].argmax())
        if not np.isfinite(best[last][row, state]):
            paths.append(None)
            continue
        states = [state]
        for i in range(last, 0, -1):
            states.append(int(back[i - 1][row, states[-1]]))
        states = states[::-1]
        paths.append(tuple(int(listed[row, i, s]) for i, s in enumerate(states)))
    return paths
