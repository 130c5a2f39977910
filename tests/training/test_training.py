from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from acclimate.errors import AcclimateError, InterruptedRunError, LostProcessError, NonFiniteLossError, RunError
from acclimate.runs.directory import Run
from acclimate.training.batches import Batches
from acclimate.training.engine import Engine, seed_for
from acclimate.training.loop import Phase, train
from acclimate.training.state import load_tree

ENGINE = Engine()


class Toy:
    """A regression whose dropout draws from the global generator."""

    def __init__(self, steps: int = 40) -> None:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.network = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
            self.data = torch.randn(30, 4)
        self.optimizer = torch.optim.Adam(self.network.parameters(), 0.01)
        self.batches = Batches(30, 7, 1, drop_last=False)
        self.before_step: Any = lambda _: None
        self.epochs = 0
        state = {"network": self.network, "optimizer": self.optimizer}
        self.phase = Phase(
            "toy", steps, self.step, state, self.batches.steps_per_epoch, None, self.network.state_dict, 10
        )

    def step(self, number: int) -> dict[str, Tensor]:
        self.before_step(number)
        x = self.data[self.batches[number]]
        loss = (self.network(x) - x.sum(1, keepdim=True)).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return {"loss": loss, "twice": 2 * loss}

    def weights(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.network.parameters()]


def new_run(path: Path) -> Run:
    return Run.create(path, {"any": "thing"})


def test_batches_are_a_function_of_seed_and_step() -> None:
    batches = Batches(10, 3, 5, drop_last=False)
    assert batches.steps_per_epoch == 4
    epoch = [batches[step].tolist() for step in range(4)]
    assert sorted(index for batch in epoch for index in batch) == list(range(10))
    assert [len(batch) for batch in epoch] == [3, 3, 3, 1]
    again = Batches(10, 3, 5, drop_last=False)
    assert again[6].tolist() == batches[6].tolist()
    assert again[1].tolist() == epoch[1]
    assert [batches[step].tolist() for step in range(4, 8)] != epoch
    assert Batches(10, 3, 6, drop_last=False)[0].tolist() != epoch[0]


def test_batches_drop_one_that_is_too_small() -> None:
    assert Batches(10, 3, 0, drop_last=False, least=2).steps_per_epoch == 3
    assert Batches(11, 3, 0, drop_last=False, least=2).steps_per_epoch == 4
    assert Batches(12, 3, 0, drop_last=False, least=2).steps_per_epoch == 4
    assert Batches(1, 3, 0, drop_last=False, least=2).steps_per_epoch == 1
    batches = Batches(11, 3, 0, drop_last=False)
    assert [batches.size(step) for step in range(8)] == [len(batches[step]) for step in range(8)]


def test_batches_drop_the_incomplete_one() -> None:
    assert Batches(10, 3, 0, drop_last=True).steps_per_epoch == 3
    with pytest.raises(AcclimateError, match="the target has 5 images, fewer than a batch of 8"):
        Batches(5, 8, 0, drop_last=True, what="the target")


def test_seeds_differ_by_purpose() -> None:
    assert seed_for(0, "a") == seed_for(0, "a")
    assert len({seed_for(0, "a"), seed_for(0, "b"), seed_for(1, "a"), seed_for(0, "a", 1)}) == 4


def test_metrics_are_means_over_windows(tmp_path: Path) -> None:
    run, toy = new_run(tmp_path / "run"), Toy(steps=10)
    losses = []
    step = toy.phase.step
    toy.phase.step = lambda n: losses.append(step(n)["loss"].item()) or {"loss": torch.tensor(losses[-1])}
    toy.phase.steps_per_epoch = 100
    train(toy.phase, run, ENGINE, 0, log_every=5)
    logged = list(run.metrics("toy"))
    assert [entry["step"] for entry in logged] == [5, 10]
    assert logged[0]["loss"] == pytest.approx(sum(losses[:5]) / 5, abs=1e-5)
    assert list(run.metrics("other")) == []


def test_batches_without_learning_are_sized_by_their_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small, vectors = torch.empty(1, 3, 224, 224), torch.empty(1, 3, 32, 32), torch.empty(1, 9)
    assert [ENGINE.at_once(500, items) for items in (large, small, vectors)] == [10, 500, 500]
    monkeypatch.setenv("ACCLIMATE_PIXELS_AT_ONCE", str(4 * 224**2))
    assert [ENGINE.at_once(500, items) for items in (large, small, vectors)] == [4, 196, 500]
    monkeypatch.setenv("ACCLIMATE_PIXELS_AT_ONCE", "many")
    with pytest.raises(AcclimateError, match="ACCLIMATE_PIXELS_AT_ONCE is a number of pixels, not 'many'"):
        ENGINE.at_once(500, large)


def test_snapshots_are_kept_at_intervals(tmp_path: Path) -> None:
    run, toy = new_run(tmp_path / "run"), Toy(steps=35)
    train(toy.phase, run, ENGINE, 0)
    assert list(run.snapshots()) == [10, 20, 30, 35]
    assert torch.equal(load_tree(run.snapshots()[35])["0.weight"], toy.network[0].weight)


@pytest.mark.parametrize("stop_at", [3, 11, 39])
def test_interrupted_and_resumed_is_bit_for_bit_unbroken(tmp_path: Path, stop_at: int) -> None:
    whole = Toy()
    train(whole.phase, new_run(tmp_path / "whole"), ENGINE, 7, checkpoint_every=5)

    run, broken = new_run(tmp_path / "broken"), Toy()
    broken.before_step = lambda n: os.kill(os.getpid(), signal.SIGINT) if n == stop_at else None
    with pytest.raises(InterruptedRunError, match=f"after step {stop_at + 1}; go on with: acclimate run --resume"):
        train(broken.phase, run, ENGINE, 7, checkpoint_every=5)
    torch.rand(100)  # whatever happens in between
    resumed = Toy()
    train(resumed.phase, run, ENGINE, 7, checkpoint_every=5)
    for a, b in zip(whole.weights(), resumed.weights(), strict=True):
        assert torch.equal(a, b)
    assert list(run.metrics()) == list(Run(tmp_path / "whole").metrics())


def test_an_interrupt_while_the_last_state_is_written_is_heard(tmp_path: Path) -> None:
    class Interrupted(Toy):
        def state_dict(self) -> dict[str, Any]:
            os.kill(os.getpid(), signal.SIGINT)
            return {}

    toy = Interrupted()
    toy.phase.state = {"network": toy.network, "other": toy}
    with pytest.raises(InterruptedRunError, match="after step 40"):
        train(toy.phase, new_run(tmp_path / "run"), ENGINE, 7)


def test_a_signal_does_not_cut_off_what_is_said_of_a_lost_process(tmp_path: Path) -> None:
    def lose(number: int) -> None:
        raise LostProcessError("gone")

    toy = Toy()
    toy.before_step = lose
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # as the command line has it
    try:
        with pytest.raises(LostProcessError, match="gone"):
            train(toy.phase, new_run(tmp_path / "run"), ENGINE, 7)
        os.kill(os.getpid(), signal.SIGTERM)  # torchrun's, to those that are left
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_moments_of_a_channels_last_network_are_resumed_in_their_order(tmp_path: Path) -> None:
    def phase(steps: int) -> tuple[Phase, nn.Module]:
        torch.manual_seed(0)
        network, images = nn.Conv2d(3, 4, 3), torch.randn(5, 3, 6, 6)
        ENGINE.place(network)
        optimizer = torch.optim.Adam(network.parameters(), 0.01, fused=True)

        def step(number: int) -> dict[str, Tensor]:
            loss = network(images).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return {"loss": loss}

        return Phase("conv", steps, step, {"network": network, "optimizer": optimizer}, 100), network

    run, (whole, network) = new_run(tmp_path / "run"), phase(4)
    train(whole, new_run(tmp_path / "whole"), ENGINE, 0)
    train(phase(2)[0], run, ENGINE, 0)
    rest, resumed = phase(4)
    train(rest, run, ENGINE, 0)
    assert torch.equal(network.weight, resumed.weight)


def test_after_a_crash_the_log_is_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    whole = Toy()
    train(whole.phase, new_run(tmp_path / "whole"), ENGINE, 7, checkpoint_every=10, log_every=5)
    run, crashed = new_run(tmp_path / "run"), Toy()

    def crash(number: int) -> None:
        if number == 27:
            raise MemoryError

    crashed.before_step = crash
    with pytest.raises(MemoryError):
        train(crashed.phase, run, ENGINE, 7, checkpoint_every=10, log_every=5)
    assert max(entry["step"] for entry in run.metrics()) == 25
    resumed = Toy()
    train(resumed.phase, run, ENGINE, 7, checkpoint_every=10, log_every=5)
    assert list(run.metrics()) == list(Run(tmp_path / "whole").metrics())
    for a, b in zip(whole.weights(), resumed.weights(), strict=True):
        assert torch.equal(a, b)


def test_the_last_checkpoints_are_kept_and_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    run, toy = new_run(tmp_path / "run"), Toy()
    train(toy.phase, run, ENGINE, 7, checkpoint_every=10)
    kept = sorted((run.path / "checkpoints" / "toy").iterdir())
    assert [path.stem for path in kept] == ["00000030", "00000040"]
    kept[1].write_bytes(kept[1].read_bytes()[:100])
    assert run.load_checkpoint("toy")["step"] == 30
    resumed = Toy()
    train(resumed.phase, run, ENGINE, 7, checkpoint_every=10)
    for a, b in zip(toy.weights(), resumed.weights(), strict=True):
        assert torch.equal(a, b)
    run.drop_checkpoints("toy")
    assert run.load_checkpoint("toy") is None


def test_a_non_finite_loss_stops_with_step_name_and_last_good_checkpoint(tmp_path: Path) -> None:
    run, toy = new_run(tmp_path / "run"), Toy()

    def poison(number: int) -> None:
        if number == 22:
            toy.network[0].weight.data.fill_(float("nan"))

    toy.before_step = poison
    with pytest.raises(
        NonFiniteLossError, match=r"loss became nan in toy at step 23; .*00000020\.safetensors"
    ) as error:
        train(toy.phase, run, ENGINE, 7, checkpoint_every=10)
    assert error.value.exit_code == 1
    assert run.load_checkpoint("toy")["step"] == 20


def test_early_end(tmp_path: Path) -> None:
    run, toy = new_run(tmp_path / "run"), Toy()
    toy.phase.steps_per_epoch = 4

    def end_epoch() -> tuple[dict[str, float], bool]:
        toy.epochs += 1
        return {"val_loss": 1.0 / toy.epochs}, toy.epochs == 3

    toy.phase.end_epoch = end_epoch
    train(toy.phase, run, ENGINE, 0)
    assert [entry["step"] for entry in run.metrics() if "val_loss" in entry] == [4, 8, 12]


def test_tensorboard_is_written_where_it_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    run = new_run(tmp_path / "run")
    train(Toy(10).phase, run, ENGINE, 0)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.path / "tensorboard")).Reload()
    assert {"toy/loss", "toy/twice"} <= set(events.Tags()["scalars"])


def test_training_in_another_thread_works(tmp_path: Path) -> None:
    run, toy = new_run(tmp_path / "run"), Toy(5)
    thread = threading.Thread(target=lambda: train(toy.phase, run, ENGINE, 0))
    thread.start()
    thread.join()
    assert [entry["step"] for entry in run.metrics()] == [5]


def test_engine() -> None:
    assert Engine.choose("cpu", "float32").dtype is None
    assert Engine.choose("cpu", "bfloat16").dtype is torch.bfloat16
    with pytest.raises(AcclimateError, match="device 'nonsense' cannot be used"):
        Engine.choose("nonsense")


class TestRun:
    def test_needs_a_run(self, tmp_path: Path) -> None:
        new_run(tmp_path / "mnist-a")
        with pytest.raises(RunError, match=r"no run at .*mnist-b.*Did you mean 'mnist-a'"):
            Run(tmp_path / "mnist-b")

    def test_does_not_overwrite(self, tmp_path: Path) -> None:
        run = new_run(tmp_path / "run")
        run.save_snapshot(1, {})
        with pytest.raises(RunError, match=f"holds another run: resume it with --resume {run.path}"):
            new_run(tmp_path / "run")
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "thesis.tex").touch()
        with pytest.raises(RunError, match="not empty"):
            new_run(tmp_path / "other")

    def test_one_process_at_a_time(self, tmp_path: Path) -> None:
        run = new_run(tmp_path / "run")
        with run.lock(), pytest.raises(RunError, match="another process"), Run(run.path).lock():
            pass
        with Run(run.path).lock():
            pass

    def test_unfinished(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="has not finished"):
            _ = new_run(tmp_path / "run").result

    def test_config_is_plain_json(self, tmp_path: Path) -> None:
        run = new_run(tmp_path / "run")
        stored = json.loads((run.path / "config.json").read_text())
        assert len(stored.pop("sha256")) == 64
        assert stored == run.config == {"any": "thing"}


def test_a_gpu_is_chosen_with_its_number_and_made_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    chosen = torch.device("cuda", 1)  # torch.cuda.set_device wants a number
    monkeypatch.setattr(torch, "empty", lambda *_, **__: type("Empty", (), {"device": chosen}))
    monkeypatch.setattr(torch.cuda, "set_device", seen.append)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", False)
    assert Engine.choose("cuda", "float32").device == chosen
    assert seen == [chosen]
    assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.deterministic
