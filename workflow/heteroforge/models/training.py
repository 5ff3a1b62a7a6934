"""The training loop: seeded by epoch, stopped early, resumed after a kill."""

from __future__ import annotations

import hashlib
import io
import json
import math
import sys
import time
import zipfile
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path

import numpy as np
import torch
from torch import nn

from heteroforge.io import REMAKE, InputError, atomic_path

__all__ = [
    "History",
    "fingerprint",
    "fit",
    "half_state",
    "load_model",
    "of_this_kind",
    "pick_device",
    "round_to_half",
    "save_model",
    "seed_everything",
]


@dataclass
class History:
    """What training recorded: one row per epoch, and where the best weights came from."""

    rows: list[dict] = field(default_factory=list)
    best_epoch: int = -1
    stopped_early: bool = False


def pick_device(name: str) -> torch.device:
    """The device that networks work on: `auto` takes a GPU where there is one.

    Raises:
        InputError: `cuda` where PyTorch sees no GPU.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device = cuda: PyTorch sees no GPU here; expected auto or cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def seed_everything(*seeds: int) -> np.random.Generator:
    """Seed torch from several integers and return a numpy generator of the same seed."""
    sequence = np.random.SeedSequence([int(s) for s in seeds])
    torch.manual_seed(int(sequence.generate_state(1, dtype=np.uint32)[0]))
    return np.random.default_rng(sequence)


def fingerprint(*parts: object) -> str:
    """Short hash of hyper-parameters and data: a checkpoint of other ones is not resumed."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fit(
    model: nn.Module,
    batches: Callable[[int, np.random.Generator], Iterable],
    loss: Callable[[object, int], tuple[torch.Tensor, dict[str, float]]],
    validate: Callable[[int], dict[str, float]],
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
    weight_decay: float = 1e-4,
    patience: int | None = None,
    first_stop: int = 0,
    checkpoint: str | Path | None = None,
    identity: str = "",
    name: str = "training",
    progress: bool = True,
) -> History:
    """Train a model with Adam and a cosine schedule; at the end it holds its best weights.

    Each epoch draws from its own seed, so a run that was killed and resumed gives the weights of
    one that was not.

    Args:
        model: trained in place.
        batches: batches of an epoch, given its number and its random generator.
        loss: loss of a batch and its terms as numbers.
        validate: terms on held-out data after an epoch; must hold
            `validation_loss`, which is to be small.
        epochs: at most this many passes.
        learning_rate: at the peak of the schedule.
        seed: of everything random.
        weight_decay: decoupled (AdamW).
        patience: epochs without improvement after which to stop; None: never.
        first_stop: epoch before which neither the best weights are kept nor training stops, for
            losses that are not yet final (annealing).
        checkpoint: file to resume from and to write every few seconds; removed at the end.
        identity: `fingerprint` of model and data.
        name: for the progress line.
        progress: whether to print one.

    Raises:
        InputError: the loss is no longer finite.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay)
    history = History()
    best_value, best_state, start = float("inf"), deepcopy(model.state_dict()), 0
    saved = _read_checkpoint(checkpoint, identity)
    if saved is not None:
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        history.rows, history.best_epoch = saved["rows"], saved["best_epoch"]
        history.stopped_early = saved["stopped_early"]
        best_value, best_state, start = saved["best_value"], saved["best_state"], saved["epoch"]
        print(f"{name}: resumed after epoch {start}", file=sys.stderr, flush=True)
    last_save, last_print = time.monotonic(), 0.0
    for epoch in range(start, epochs):
        if history.stopped_early:
            break
        began = time.monotonic()
        generator = seed_everything(seed, epoch)
        warm_up = min(1.0, (epoch + 1) / 3)
        cosine = 0.5 * (1.0 + math.cos(math.pi * epoch / epochs))
        rate = learning_rate * warm_up * (0.02 + 0.98 * cosine)
        for group in optimiser.param_groups:
            group["lr"] = rate
        model.train()
        sums: dict[str, float] = {}
        count = 0
        for batch in batches(epoch, generator):
            optimiser.zero_grad()
            value, terms = loss(batch, epoch)
            if not torch.isfinite(value):
                raise InputError(
                    f"{name}: the loss is {float(value.detach())} in epoch {epoch}: expected a "
                    f"finite number; a smaller learning_rate than {learning_rate} may help"
                )
            value.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
            count += 1
            for key, term in terms.items():
                sums[key] = sums.get(key, 0.0) + float(term)
        model.eval()
        with torch.no_grad():
            held_out = validate(epoch)
        row = {"epoch": epoch, "learning_rate": rate}
        row |= {key: value / max(count, 1) for key, value in sums.items()}
        row |= {key: float(value) for key, value in held_out.items()}
        history.rows.append(row)
        current = row["validation_loss"]
        if epoch < first_stop:
            history.best_epoch, best_state = epoch, deepcopy(model.state_dict())
        elif current < best_value:
            best_value, history.best_epoch = current, epoch
            best_state = deepcopy(model.state_dict())
        elif patience is not None and epoch - history.best_epoch >= patience:
            history.stopped_early = True
        now = time.monotonic()
        last = epoch == epochs - 1 or history.stopped_early
        if progress and (now - last_print > 2.0 or last):
            last_print = now
            print(
                f"{name}: epoch {epoch + 1}/{epochs}  validation_loss {current:.4f}  "
                f"best {best_value:.4f}  {now - began:.1f} s/epoch",
                file=sys.stderr,
                flush=True,
            )
        if checkpoint is not None and (now - last_save > 5.0 or last):
            last_save = now
            with atomic_path(checkpoint) as path:
                torch.save(
                    {
                        "identity": identity,
                        "epoch": epoch + 1,
                        "model": model.state_dict(),
                        "optimiser": optimiser.state_dict(),
                        "rows": history.rows,
                        "best_epoch": history.best_epoch,
                        "best_value": best_value,
                        "best_state": best_state,
                        "stopped_early": history.stopped_early,
                    },
                    path,
                )
    model.load_state_dict(best_state)
    model.eval()
    return history


def _read_checkpoint(checkpoint: str | Path | None, identity: str) -> dict | None:
    if checkpoint is None or not Path(checkpoint).exists():
        return None
    try:
        saved = torch.load(checkpoint, weights_only=True)
    except Exception as error:  # torch raises many types for a file it cannot read
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        print(f"{checkpoint}: not usable ({reason}): starting anew", file=sys.stderr)
        return None
    if saved.get("identity") != identity:
        print(f"{checkpoint}: of other data or settings: starting anew", file=sys.stderr)
        return None
    return saved


def round_to_half(model: nn.Module) -> None:
    """Round weights to half precision, in which `half_state` keeps them: a thousandth of each."""
    for weight in model.parameters():
        weight.data = weight.data.half().float()


def half_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """State of a model that `round_to_half` has rounded, in half of the size."""
    weights = {name: value.detach().half() for name, value in model.named_parameters()}
    return model.state_dict() | weights


def save_model(path: str | Path, model: nn.Module, **content: object) -> None:
    """Write weights with their hyper-parameters and other plain content, atomically.

    `torch.load` reads the file as any other, though its records are compressed (by an eighth). The
    same content gives the same bytes: records carry no time, and no name of the file.
    """
    plain = io.BytesIO()
    torch.save({"state": model.state_dict(), **content}, plain)
    with (
        atomic_path(path) as partial,
        zipfile.ZipFile(plain) as records,
        zipfile.ZipFile(partial, "w") as packed,
    ):
        for record in records.infolist():
            name = zipfile.ZipInfo(record.filename)
            packed.writestr(name, records.read(record), zipfile.ZIP_DEFLATED)


def of_this_kind(load: Callable) -> Callable:
    """Have a function that loads a model from a path name the file where another model lies."""

    @wraps(load)
    def named(path: str | Path):
        try:
            return load(path)
        except (AttributeError, KeyError, RuntimeError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: not a model of this kind: {reason}{REMAKE}") from None

    return named


def load_model(path: str | Path) -> dict:
    """Read what `save_model` wrote, as plain data (`weights_only`).

    Raises:
        InputError: the file is missing or is not such a file.
    """
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # torch raises many types for a file it cannot read
        raise InputError(f"{path}: not a model file: {error}{REMAKE}") from None
    if not isinstance(content, dict) or "state" not in content:
        raise InputError(f"{path}: holds no weights")
    return content
