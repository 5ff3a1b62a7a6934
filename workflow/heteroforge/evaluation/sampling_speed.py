"""How many distinct stacks a second the generative model makes, and in how much memory."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from heteroforge.evaluation.benchmark_sets import read_set
from heteroforge.generation.sampling import Limits, Plan, sample_shard
from heteroforge.models.gvae_training import load_gvae
from heteroforge.structures import Stack, StructureError, build

__all__ = ["measure_sampling_speed"]


def measure_sampling_speed(
    benchmark_set: Sequence[str | Path],
    model: str | Path,
    *,
    number: int,
    shards: int,
    workers: int,
    mode: str,
    seed: int,
) -> dict:
    """Sample `number` stacks in shards, each a fresh process, and build the atoms of all.

    Args:
        benchmark_set: files of a `BenchmarkSet`, whose training part bounds strain and cells.
        model: trained on it.
        workers: processes at a time.

    Returns:
        `distinct_per_second` of wall time with starting of processes and reading of files,
        `distinct` (by key, over all shards), `built`, and per shard its seconds, those of the
        processor, which other work on the machine does not stretch, and the peak of its memory
        in MB.
    """
    began = time.perf_counter()
    task = partial(
        _shard, tuple(benchmark_set), model, number=number, shards=shards, mode=mode, seed=seed
    )
    # Processes of their own, as jobs are: no caches from one shard to the next.
    with multiprocessing.get_context("fork").Pool(workers, maxtasksperchild=1) as pool:
        found = pool.map(task, range(shards), chunksize=1)
    seconds = time.perf_counter() - began
    distinct = len(set().union(*(shard.pop("keys") for shard in found)))
    return {
        "mode": mode,
        "asked_for": number,
        "distinct": distinct,
        "built": sum(shard["built"] for shard in found),
        "workers": workers,
        "seconds": seconds,
        "distinct_per_second": distinct / seconds,
        "shards": found,
    }


def _shard(
    benchmark_set: Sequence[str | Path],
    model: str | Path,
    shard: int,
    *,
    number: int,
    shards: int,
    mode: str,
    seed: int,
) -> dict:
    torch.set_num_threads(1)
    data = read_set(*benchmark_set)
    training = data.part("train")
    limits = Limits(
        maximum_atoms=max(stack.number_of_atoms for stack in training),
        maximum_mismatch_percent=max(stack.mismatch_percent for stack in training),
    )
    trained = load_gvae(model)
    began, worked = time.perf_counter(), time.process_time()
    samples, _ = sample_shard(
        trained, data.catalogue, {}, limits, {},
        seed=seed, number=number, shard=shard, shards=shards, plan=Plan(mode=mode),
    )  # fmt: skip
    sampled, worked = time.perf_counter(), time.process_time() - worked
    built = sum(_builds(text, data.monolayers) for text in samples["specification"])
    return {
        "distinct": len(samples),
        "built": built,
        "sampling_seconds": sampled - began,
        "sampling_processor_seconds": worked,
        "building_seconds": time.perf_counter() - sampled,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "keys": set(samples["stack_id"]),
    }


def _builds(specification: str, monolayers: dict) -> bool:
    try:
        return len(build(Stack.from_json(specification, monolayers))) > 0
    except StructureError:
        return False
