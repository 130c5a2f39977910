"""Several processes train one run: real ones, started by torchrun, that talk over gloo."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from acclimate import Adaptation
from acclimate.errors import AcclimateError
from acclimate.methods.base import DomainBatches, Task
from acclimate.methods.cyclegan.config import CycleGANConfig
from acclimate.methods.cyclegan.method import CycleGAN
from acclimate.runs.directory import Run
from acclimate.training.distributed import Processes
from acclimate.training.engine import Engine
from acclimate.training.state import load_tree, read_json, write_json
from helpers import batch, random_data, tiny

SETTINGS = tiny("cyclegan", batch_size=8, dropout=0.0, steps=8, snapshots=2, checkpoint_every=4, target_only=False)

RUN = ["-m", "acclimate", "run", "digits", "digits-m", "--device", "cpu"]


def torchrun(count: int, *command: str, **environment: str) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", *command]
    variables = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen(words, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def flags(settings: dict[str, object]) -> list[str]:
    words = []
    for name, value in settings.items():
        option = name.replace("_", "-")
        words.append(f"--{'' if value else 'no-'}{option}" if isinstance(value, bool) else f"--{option}={value}")
    return words


def run_command(out: Path, **changes: object) -> list[str]:
    return [*RUN, "--out", str(out), *flags(SETTINGS | changes)]


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out + err


def wait_for_checkpoint(process: subprocess.Popen[str], run: Path, phase: str = "*") -> None:
    deadline = time.monotonic() + 120
    while not list(run.glob(f"checkpoints/{phase}/*.safetensors")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def snapshot(run: Path) -> dict[str, Tensor]:
    return load_tree(list(Run(run).snapshots().values())[-1])["G"]


def test_shares_do_not_overlap() -> None:
    whole, data = torch.arange(10), random_data()
    parts = [Processes(rank, 3).share(whole).tolist() for rank in range(3)]
    assert sorted(index for part in parts for index in part) == whole.tolist()
    engine, config = Engine(processes=Processes(0, 3)), CycleGANConfig(batch_size=8)
    with pytest.raises(AcclimateError, match="3 processes cannot share a batch of 8 equally"):
        DomainBatches(data.source_train, data.target_train, config, engine)


IMPORTED = os.pathsep.join(str(folder) for folder in Path(__file__).parents[:2])
"""Where the scripts find this file and the helpers."""

GRADIENTS = """
import sys, torch
from acclimate.training.distributed import joined, processes
from acclimate.training.state import save_tree
from acclimate.training.engine import Engine
from test_distributed import gradients

torch.set_num_threads(1)
with joined("cpu"):
    group = processes()
    found = gradients(Engine(processes=group))
    if group.first:
        save_tree(__import__("pathlib").Path(sys.argv[1]), found)
"""


def gradients(engine: Engine) -> dict[str, Tensor]:
    """Return the float32 gradients of all four networks on a batch of 32, or on this process's share of it."""
    torch.manual_seed(0)
    settings = {"width": 4, "discriminator_width": 4, "dropout": 0.0, "cycle_share": 0.5}
    method = CycleGAN(CycleGANConfig(**settings), Task(3, 16, ("a", "b")), engine)  # type: ignore[arg-type]
    for optimizer in method.optimizers.values():
        optimizer.step = lambda: None  # type: ignore[method-assign]
    method.step(engine.processes.share(batch(1, 32)), engine.processes.share(batch(2, 32)))
    return {name: parameter.grad for name, parameter in method.named_parameters() if parameter.grad is not None}


def test_two_halves_of_a_batch_give_the_gradients_of_the_whole(tmp_path: Path) -> None:
    script = tmp_path / "gradients.py"
    script.write_text(GRADIENTS)
    path = tmp_path / "gradients.safetensors"
    finish(torchrun(2, str(script), str(path), PYTHONPATH=IMPORTED))
    shared, alone = load_tree(path), gradients(Engine())
    assert shared.keys() == alone.keys()
    assert len(alone) == len(list(CycleGAN(CycleGANConfig(width=4), Task(3, 16, ("a", "b")), Engine()).parameters()))
    for network in ("G", "F", "D_X", "D_Y"):  # as vectors: a bias before a norm has no gradient but rounding
        one, two = (
            torch.cat([gradient.flatten() for name, gradient in found.items() if name.startswith(f"{network}.")])
            for found in (alone, shared)
        )
        assert (one - two).norm() < 1e-5 * one.norm(), network


def test_two_processes_train_as_one_does_and_their_run_goes_on_alone(tmp_path: Path) -> None:
    said = finish(torchrun(2, *run_command(tmp_path / "two")))
    assert said.count("source: digits") == said.count("accuracy on") == 1  # the first process alone speaks
    result = Run(tmp_path / "two").result
    assert result["processes"] == 2
    finish(torchrun(1, *run_command(tmp_path / "one")))
    for name, weights in snapshot(tmp_path / "one").items():
        torch.testing.assert_close(snapshot(tmp_path / "two")[name], weights, rtol=0.02, atol=2e-3, msg=name)
    one, two = (
        {entry["step"]: entry["generators"] for entry in Run(tmp_path / name).metrics("translator")}
        for name in ("one", "two")
    )
    assert two == pytest.approx(one, rel=1e-3)

    finish(torchrun(1, "-m", "acclimate", "run", "--resume", str(tmp_path / "two")))  # nothing is left to do
    assert Run(tmp_path / "two").result == result


def test_a_dead_process_ends_the_run_with_an_error_and_a_checkpoint_for_any_number(tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = torchrun(2, *run_command(out, steps=4000, checkpoint_every=5))
    wait_for_checkpoint(process, out)
    children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
    os.kill(int(children.stdout.split()[-1]), signal.SIGKILL)
    _, error = process.communicate(timeout=120)
    assert process.returncode != 0
    assert re.search(r"another process of this run is gone.*acclimate run --resume", error), error

    stored = read_json(out / "config.json")
    stored["config"]["steps"] = 40
    write_json(out / "config.json", stored)
    reached = max(int(path.stem) for path in out.glob("checkpoints/translator/*.safetensors"))
    assert reached > 0
    finish(torchrun(1, "-m", "acclimate", "run", "--resume", str(out)))
    assert Adaptation(out).run.result["processes"] == 1


FULL_DISK = """
import errno, os, sys
from acclimate.commands import main
from acclimate.runs.directory import Run

def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")

if os.environ["RANK"] == "0":
    Run.save_checkpoint = full
main(sys.argv[1:])
"""


def test_the_others_do_not_wait_for_one_that_failed(tmp_path: Path) -> None:
    script = tmp_path / "full.py"
    script.write_text(FULL_DISK)
    process = torchrun(2, str(script), *run_command(tmp_path / "run", steps=4000)[2:])
    _, error = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "acclimate: writing: No space left on device" in error
    assert "exitcode  : 2 " in error  # what main exits with: nothing crashed on the way out


SHORT_PHASE = """
import os, signal, sys
from pathlib import Path
from acclimate.training.distributed import joined, processes
from acclimate.errors import InterruptedRunError
from acclimate.runs.directory import Run
from acclimate.training.engine import Engine
from acclimate.training.loop import train
from test_training import Toy

with joined("cpu"):
    group, toy = processes(), Toy(steps=4)
    toy.before_step = lambda n: os.kill(os.getpid(), signal.SIGINT) if n == 2 and not group.first else None
    run = group.first_then_all(lambda: Run.create(Path(sys.argv[1]), {}) if group.first else Run(Path(sys.argv[1])))
    try:
        train(toy.phase, run, Engine(processes=group), 7)
    except InterruptedRunError as error:
        print(f"process {group.rank} {error}")
"""


def test_one_process_interrupted_in_a_short_phase_stops_all_at_its_end(tmp_path: Path) -> None:
    script = tmp_path / "short.py"
    script.write_text(SHORT_PHASE)
    said = finish(torchrun(2, str(script), str(tmp_path / "run"), PYTHONPATH=IMPORTED))
    for rank in (0, 1):
        assert f"process {rank} stopped in toy after step 4; go on with" in said
    assert Run(tmp_path / "run").load_checkpoint("toy")["step"] == 4  # type: ignore[index]


RESTS = """
import torch
from acclimate.methods.adda.config import ADDAConfig
from acclimate.methods.adda.method import ADDA
from acclimate.methods.base import Task
from acclimate.training.distributed import joined, processes
from acclimate.training.engine import Engine
from helpers import batch, watch_updates

torch.set_num_threads(1)
with joined("cpu"):
    group = processes()
    torch.manual_seed(0)
    method = ADDA(ADDAConfig(discriminator_floor=0.6), Task(3, 16, ("a", "b")), Engine(processes=group))
    seen = watch_updates(method)
    moved, alone = "", ""
    for step in range(40):
        x, t = group.share(batch(step, 4)), group.share(batch(100 + step, 4))
        alone += "01"[method.adversarial_step(x, t)["domain_accuracy"].item() > 0.6]
        moved += "01"["target" in dict(seen)]
        seen.clear()
    print(f"process {group.rank} moved {moved}")
    print(f"process {group.rank} alone {alone}")
"""


def test_the_processes_agree_on_when_the_target_encoder_rests(tmp_path: Path) -> None:
    script = tmp_path / "rests.py"
    script.write_text(RESTS)
    said = finish(torchrun(2, str(script), PYTHONPATH=IMPORTED))
    moved, alone = (re.findall(rf"process \d {word} ([01]{{40}})$", said, re.MULTILINE) for word in ("moved", "alone"))
    assert len(moved) == 2
    assert moved[0] == moved[1]
    assert set(moved[0]) == {"0", "1"}  # it rested, and not always
    assert alone[0] != alone[1]  # of what each saw by itself: there one would have waited for the other


@pytest.mark.parametrize("method", ["sbada-gan", "dann"])
def test_methods_with_pools_and_batch_norm_resume_as_an_unbroken_run(method: str, tmp_path: Path) -> None:
    settings = tiny(method, batch_size=8, steps=120, checkpoint_every=10, repeats=1, target_only=False)
    settings |= {"pool": 8, "warmup_steps": 4} if method == "sbada-gan" else {"classifier": "dann-bn", "image_size": 16}
    command = [*RUN, "--method", method, *flags(settings)]
    finish(torchrun(2, *command, "--out", str(tmp_path / "whole")))

    broken = tmp_path / "broken"
    process = torchrun(2, *command, "--out", str(broken))
    wait_for_checkpoint(process, broken, {"sbada-gan": "sbada-gan", "dann": "adversarial"}[method])
    process.send_signal(signal.SIGINT)
    assert "go on with: acclimate run --resume" in process.communicate(timeout=120)[1]
    assert not (broken / "result.json").exists()
    finish(torchrun(2, "-m", "acclimate", "run", "--resume", str(broken)))
    whole, again = (load_tree(list(Run(tmp_path / name).snapshots().values())[-1]) for name in ("whole", "broken"))
    for network, weights in whole.items():
        for name, weight in weights.items():
            assert torch.equal(weight, again[network][name]), name


ON_FEATURES = """
import sys
import torch
from acclimate import adapt
from acclimate.networks import Backbone, register_backbone
from acclimate.pipeline import stages
from acclimate.training.distributed import joined, processes

register_backbone("pixels", Backbone(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(4), torch.nn.Flatten()), 16))
build = stages.build_result
stages.build_result = lambda adaptation: print(f"process {processes().rank} measures") or build(adaptation)
short = {"stage_steps": 6, "target_batch_size": 32, "classifier_batch_size": 32, "classifier_epochs": 1}
with joined("cpu"):
    run = adapt("digits", "digits-m", method="self-training", preset="photos", backbone="pixels", image_size=16,
                share_bars=False, target_only=False, out=sys.argv[1], **short)
    print(f"process {processes().rank} has {run.run.result['processes']}")
"""


def test_the_first_process_alone_measures_a_run_on_features(tmp_path: Path) -> None:
    script = tmp_path / "features.py"
    script.write_text(ON_FEATURES)
    said = finish(torchrun(2, str(script), str(tmp_path / "run")))
    assert said.count("measures") == 1
    assert "process 0 measures" in said
    assert "process 0 has 2" in said
    assert "process 1 has 2" in said
