"""The training loop: resumed runs equal uninterrupted ones, stale checkpoints are not used."""

import numpy as np
import pytest
import torch
from torch import nn

from heteroforge.io import InputError
from heteroforge.models.gvae_training import load_gvae
from heteroforge.models.property_training import load_member
from heteroforge.models.training import fingerprint, fit, load_model, pick_device, save_model


class Killed(Exception):
    pass


def run(checkpoint=None, kill_after=None, identity="a", epochs=12, noise=0.1, **options):
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32))
    y = x @ torch.tensor([[1.0], [2.0], [-1.0]])
    seen = []

    def batches(epoch, generator):
        if kill_after is not None and epoch == kill_after:
            raise Killed
        seen.append(epoch)
        order = generator.permutation(40)
        for start in range(0, 40, 8):
            yield torch.from_numpy(order[start : start + 8])

    def loss(rows, epoch):
        # Dropout-like noise from torch's own generator must be resumed as well.
        value = ((model(x[rows]) - y[rows] + noise * torch.randn(len(rows), 1)) ** 2).mean()
        return value, {"loss": float(value.detach())}

    def validate(epoch):
        return {"validation_loss": float(((model(x) - y) ** 2).mean())}

    history = fit(
        model, batches, loss, validate, epochs=epochs, learning_rate=0.05, seed=1,
        checkpoint=checkpoint, identity=identity, progress=False, **options,
    )  # fmt: skip
    return model, history, seen


@pytest.fixture
def always_save(monkeypatch):
    clock = iter(range(0, 10**6, 10))
    monkeypatch.setattr("heteroforge.models.training.time.monotonic", lambda: next(clock))


def test_resumed_run_equals_uninterrupted_one(tmp_path, always_save):
    whole, history, _ = run()
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(Killed):
        run(checkpoint, kill_after=5)
    assert checkpoint.exists()
    resumed, resumed_history, seen = run(checkpoint)
    assert seen == list(range(5, 12))
    assert torch.equal(whole.weight, resumed.weight)
    assert resumed_history.rows == history.rows


def test_checkpoint_of_other_data_is_not_used(tmp_path, always_save, capsys):
    checkpoint = tmp_path / "checkpoint.pt"
    run(checkpoint, epochs=3)
    _, _, seen = run(checkpoint, identity="b", epochs=3)
    assert seen == [0, 1, 2]
    assert "starting anew" in capsys.readouterr().err


def test_broken_checkpoint_is_not_trusted(tmp_path, capsys):
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.write_bytes(b"half written")
    _, _, seen = run(checkpoint, epochs=2)
    assert seen == [0, 1]
    assert "not usable" in capsys.readouterr().err


def test_stops_early_and_keeps_the_best():
    model, history, _ = run(epochs=60, noise=2.0, patience=4)
    assert history.stopped_early and len(history.rows) < 60
    values = [row["validation_loss"] for row in history.rows]
    assert history.best_epoch == int(np.argmin(values))


def test_loss_that_is_not_finite_is_named():
    with pytest.raises(InputError, match="the loss is nan in epoch 0"):
        run(noise=float("nan"))


def test_saved_model_is_plain_data(tmp_path):
    model = nn.Linear(2, 1)
    save_model(tmp_path / "m.pt", model, settings={"width": 2}, names=["a"])
    content = load_model(tmp_path / "m.pt")
    assert content["settings"] == {"width": 2}
    assert torch.equal(content["state"]["weight"], model.weight)
    with pytest.raises(InputError, match="no such file"):
        load_model(tmp_path / "none.pt")
    (tmp_path / "bad.pt").write_text("text")
    with pytest.raises(InputError, match="not a model file"):
        load_model(tmp_path / "bad.pt")


def test_fingerprint_sees_every_part():
    assert fingerprint({"a": 1}, 2) == fingerprint({"a": 1}, 2)
    assert fingerprint({"a": 1}, 2) != fingerprint({"a": 1}, 3)


@pytest.mark.parametrize("load", [load_gvae, load_member])
def test_weights_of_another_model_are_told_by_file(tmp_path, load):
    path = tmp_path / "model.pt"
    torch.save({"state": {"weight": torch.zeros(2)}}, path)
    with pytest.raises(InputError, match="model.pt: not a model of this kind"):
        load(path)


def test_device_is_a_gpu_only_where_there_is_one(monkeypatch):
    assert pick_device("cpu").type == "cpu"
    for there, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr("torch.cuda.is_available", lambda there=there: there)
        assert pick_device("auto").type == kind
    with pytest.raises(InputError, match="device = cuda: PyTorch sees no GPU here"):
        pick_device("cuda")
