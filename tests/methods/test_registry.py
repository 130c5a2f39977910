"""Methods from outside the package, as a stranger adds them: registered in a process, or installed beside acclimate."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from acclimate.config import Config
from acclimate.errors import AcclimateError
from acclimate.methods import MethodEntry, find_config, find_method, method_names, register
from acclimate.methods.base import Method

CONFIG = '''
from dataclasses import dataclass
from acclimate.config import MethodConfig

@dataclass(frozen=True, kw_only=True)
class ToyConfig(MethodConfig):
    """Settings of a toy.

    Parameters
    ----------
    colour
        What it is painted in.
    """

    steps: int = 3
    colour: str = "red"
'''

METHOD = '''
from acclimate.methods.base import DomainBatches, Method, adam

class Toy(Method):
    """A classifier of the source, said to be one of the target."""

    name = "toy"
    classifies = True

    def __init__(self, config, task, engine):
        super().__init__(config, task, engine)
        self.config = config
        self.classifier = task.classifier(config.classifier)
        self.optimizers = {"all": adam(self.classifier, lr=config.lr)}

    def phases(self, data):
        batches = DomainBatches(data.source_train, data.target_train, self.config, self.engine)

        def step(number):
            x, labels, _ = batches[number]
            return self._classifier_step("all", self.classifier, x, labels)

        return [self._phase("toy", batches, step, snapshots=1)]

    def forward(self, images):
        return self.classifier(images)
'''


def install(folder: Path, place: str = "toybox:ENTRY") -> None:
    """Lay a package of a method out as pip leaves it."""
    package, info = folder / "toybox", folder / "toybox-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").write_text(
        "from acclimate import MethodEntry\nENTRY = MethodEntry('toybox.config:ToyConfig', 'toybox.method:Toy')\n"
    )
    (package / "config.py").write_text(CONFIG)
    (package / "method.py").write_text(METHOD)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toybox\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[acclimate.methods]\ntoy = {place}\n")


def run_acclimate(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); from acclimate.commands import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_an_installed_method_is_found_by_its_entry_point(tmp_path: Path) -> None:
    install(tmp_path)
    shown = run_acclimate(tmp_path, "run", "--help", "--method", "toy")
    assert "What it is painted in." in shown.stdout
    out = tmp_path / "run"
    settings = ["--image-size=8", "--repeats=1", "--classifier-epochs=1", "--classifier-images=256", "--no-share-bars"]
    ran = run_acclimate(tmp_path, "run", "digits", "digits-m", "--method=toy", f"--out={out}", *settings)
    assert ran.returncode == 0, ran.stderr
    assert "toy (fast, seed 0)" in ran.stdout
    assert (out / "snapshots" / "00000003.safetensors").exists()
    measured = run_acclimate(tmp_path, "evaluate", str(out))
    assert '"adapted"' in measured.stdout
    unknown = run_acclimate(tmp_path, "run", "digits", "digits-m", "--method=toi")
    assert unknown.returncode == 2
    assert "Did you mean 'toy'?" in unknown.stderr


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("toybox:MISSING", "the entry of the method 'toy', toybox:MISSING, cannot be imported"),
        ("nowhere:ENTRY", "No module named 'nowhere'"),
        ("toybox.config:ToyConfig", "is no acclimate.MethodEntry"),
    ],
)
def test_a_broken_entry_point_is_one_line(tmp_path: Path, place: str, said: str) -> None:
    install(tmp_path, place)
    failed = run_acclimate(tmp_path, "run", "digits", "digits-m", "--method=toy")
    assert failed.returncode == 2
    assert said in failed.stderr
    assert len(failed.stderr.strip().splitlines()) == 1
    assert run_acclimate(tmp_path, "run", "--help", "--method", "dann").returncode == 0  # others do not care


def test_a_method_is_registered_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("acclimate.methods.registry.METHODS", {})

    class Mine(Method):
        name = "mine"

    entry = MethodEntry(Config, Mine)
    register("mine", entry)
    register("mine", entry)  # a notebook's cell may run twice
    assert method_names() == ("mine",)
    assert (find_config("mine"), find_method("mine")) == (Config, Mine)
    with pytest.raises(AcclimateError, match="there is a method 'mine' already"):
        register("mine", MethodEntry(Config, Method))
    register("other", entry)
    with pytest.raises(AcclimateError, match="registered as 'other' calls itself 'mine'"):
        find_method("other")


def test_an_unknown_method_has_its_nearest_name() -> None:
    for find in (find_config, find_method):
        with pytest.raises(AcclimateError, match="Did you mean 'cyclegan'"):
            find("cycle-gan")
