"""The command line as a person types it."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

from acclimate import __version__
from acclimate.commands import main
from acclimate.commands.run import _source, summary_table
from acclimate.data.images import write_png
from acclimate.pipeline.adapt import start
from acclimate.pipeline.stages import run_stages
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.inference import read_files
from acclimate.training.state import read_json, write_json
from helpers import TINY, tiny

OPTIONS = [f"--{key.replace('_', '-')}={value}" for key, value in TINY.items()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cli") / "run"
    with pytest.raises(SystemExit) as stop:
        main(["run", "digits", "digits-m", "--preset", "demo", "--out", str(out), *OPTIONS])
    assert not stop.value.code
    return out


Cli = Callable[..., tuple[int, str, str]]


def test_run_prints_a_small_table_and_where_things_are(finished: Path, run_cli: Cli) -> None:
    code, out, err = run_cli("run", "--resume", finished)
    assert code == 0
    for expected in (
        "digits -> digits-m, cyclegan (demo, seed 0)",
        "source-only",
        "adapted",
        "target-only",
        "400 target test",
    ):
        assert expected in out
    assert str(finished / "figures") in out
    assert "translation  offline: " in out
    assert "(on the fly: up to " in out
    assert f"acclimate report {finished}" in out
    assert f"run: {finished}" in err


def test_one_training_has_no_spread(tmp_path: Path) -> None:
    run = start("digits", "digits-m", method="dann", out=tmp_path / "run", **tiny("dann", target_only=False))
    run_stages(run)
    source_only, own = summary_table(run).splitlines()[2:4]
    assert "+-" in source_only
    assert "+-" not in own
    assert own.split()[0] == "adapted"


def test_a_document_links_to_files_as_seen_from_there(finished: Path, tmp_path: Path, run_cli: Cli) -> None:
    document = tmp_path / "docs" / "README.md"
    document.parent.mkdir()
    document.write_text("before\n<!-- results -->\nold\n<!-- /results -->\nafter\n")
    code, _, err = run_cli("table", finished, "--into", document)
    assert code == 0, err
    begin, table, end = re.split("<!-- /?results -->", document.read_text())
    assert (begin, end) == ("before\n", "\nafter\n")
    (link,) = re.findall(r"\]\((.*?)\)", table)
    assert (document.parent / link).resolve() == (finished / "result.json").resolve()
    document.write_text("no place")
    assert "has no place for the table" in run_cli("table", finished, "--into", document)[2]


def test_settings_come_from_the_run_when_it_is_resumed(finished: Path, run_cli: Cli) -> None:
    assert json.loads((finished / "config.json").read_text())["config"]["width"] == TINY["width"]
    code, _, err = run_cli("run", "digits", "--resume", finished)
    assert code == 2
    assert "leave out source and target" in err


def test_evaluate(finished: Path, run_cli: Cli) -> None:
    code, out, _ = run_cli("evaluate", finished)
    assert code == 0
    stored = json.loads((finished / "result.json").read_text())
    assert json.loads(out)["accuracy"]["adapted"] == stored["accuracy"]


def test_translate(finished: Path, run_cli: Cli, make_folder: Callable[..., Path], tmp_path: Path) -> None:
    code, out, _ = run_cli("translate", finished, make_folder("mine", ("1", "2"), 3), tmp_path / "out")
    assert code == 0
    assert "wrote 6 images" in out
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*.png"))[0] == "1/000.png"
    assert run_cli("translate", finished, "digits", tmp_path / "out")[0] == 2


def test_select_scores_snapshots_and_studies_them(finished: Path, run_cli: Cli, tmp_path: Path) -> None:
    code, out, _ = run_cli("select", finished)
    head, *rows, chosen = [line.split() for line in out.splitlines() if line.strip()]
    assert code == 0
    assert {"step", "target-cycle", "entropy", "discriminator-band"} <= set(head)
    assert all(len(row) == len(head) for row in rows)
    assert chosen[:2] == ["would", "choose"]
    code, out, _ = run_cli("select", finished, "--study", "--every", "--out", tmp_path / "study.json")
    study = json.loads((tmp_path / "study.json").read_text())
    assert code == 0
    assert "| oracle |" in out
    assert len(study["runs"][0]["accuracy"]) >= len(rows)
    assert run_cli("select", finished, "--every")[0] == 2


def test_tables_of_all_layouts_and_formats(finished: Path, run_cli: Cli) -> None:
    accuracy = 100 * json.loads((finished / "result.json").read_text())["accuracy"]["mean"]
    for layout in ("list", "matrix"):
        for form, mark in (("markdown", "| "), ("csv", ","), ("latex", r"\toprule")):
            code, out, _ = run_cli("table", finished, "--layout", layout, "--format", form)
            assert code == 0
            assert mark in out
            assert f"{accuracy:.1f}" in out


def test_predict_csv_and_json_lines(finished: Path, run_cli: Cli, make_folder: Callable[..., Path]) -> None:
    folder = make_folder("mine", ("a", "b"), 2)
    (folder / "bad.png").write_text("no")
    code, out, err = run_cli("predict", finished, folder, folder / "a" / "000.png")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert len(rows) == 5
    assert set(rows[0]) == {"file", "class", "probability"}
    assert all(row["class"] in "0123456789" and 0.1 <= float(row["probability"]) <= 1 for row in rows)
    assert "skipped" in err
    assert "bad.png" in err
    code, out, _ = run_cli("predict", finished, folder / "a", "--format", "jsonl")
    assert [set(json.loads(line)) for line in out.splitlines()] == [{"file", "class", "probability"}] * 2
    code, _, err = run_cli("predict", finished, folder, "--strict")
    assert (code, "bad.png: not a readable image" in err) == (2, True)
    assert run_cli("predict", finished, folder / "bad.png")[0] == 2
    assert run_cli("predict", finished, folder / "none.png")[0] == 2


def test_predict_asks_the_classifier_that_the_run_recommends(
    finished: Path, run_cli: Cli, make_folder: Callable[..., Path]
) -> None:
    folder = make_folder("mine", ("a", "b"), 4)
    adaptation = Adaptation(finished)
    files, pixels = read_files(adaptation, [folder])
    said = {}
    for kind in ("adapted", "source-only"):
        code, out, err = run_cli("predict", finished, folder, "--kind", kind)
        assert (code, err) == (0, "")
        rows = list(csv.DictReader(io.StringIO(out)))
        assert [Path(row["file"]) for row in rows] == files
        said[kind] = [float(row["probability"]) for row in rows]
    expected = adaptation.classifier("source-only").probabilities(pixels).max(1).values
    assert said["source-only"] == pytest.approx(expected.tolist(), abs=1e-5)
    own = [float(row["probability"]) for row in csv.DictReader(io.StringIO(run_cli("predict", finished, folder)[1]))]
    assert said["adapted"] == own != said["source-only"]
    code, _, err = run_cli("predict", finished, folder, "--kind", "source-only-augmented")
    assert (code, "no classifier source-only-augmented; it has source-only, adapted, target-only" in err) == (2, True)


def test_the_summary_tells_how_to_use_the_classifier_that_it_recommends(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    stored = read_json(run / "result.json")
    for use in ("unadapted", "adapted"):
        write_json(run / "result.json", stored | {"recommendation": {"use": use, "sure": 0.8}})
        command = f"acclimate predict {run} IMAGES --kind source-only"
        assert (command in summary_table(Adaptation(run))) == (use == "unadapted")


def test_predict_says_what_it_passes_over(finished: Path, run_cli: Cli, make_folder: Callable[..., Path]) -> None:
    folder = make_folder("phone")
    (folder / "cat" / "x.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    code, out, err = run_cli("predict", finished, folder)
    assert (code, out.count("\n")) == (0, 25)
    assert f"passed over in {folder}: 1 .heic" in err


def test_predict_abstains_where_it_is_not_sure(finished: Path, run_cli: Cli, make_folder: Callable[..., Path]) -> None:
    folder = make_folder("mine", ("a", "b"), 3)
    sure = [float(row["probability"]) for row in csv.DictReader(io.StringIO(run_cli("predict", finished, folder)[1]))]
    between = sorted(sure)[2] + 1e-5  # they are printed rounded
    _, out, _ = run_cli("predict", finished, folder, "--abstain-below", between)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["class"] == "" for row in rows] == [float(row["probability"]) < between for row in rows]
    _, out, _ = run_cli("predict", finished, folder, "--abstain-below", 1, "--format", "jsonl")
    assert {json.loads(line)["class"] for line in out.splitlines()} == {None}
    code, _, err = run_cli("predict", finished, folder, "--abstain-below", 80)
    assert (code, "--abstain-below must be 0 to 1, not 80" in err) == (2, True)


def test_check_tells_strange_images_from_the_target_s(finished: Path, run_cli: Cli, tmp_path: Path) -> None:
    target = Adaptation(finished).target.images("test").pixels[:60]
    for folder in ("same", "other"):
        (tmp_path / folder).mkdir()
    for number, image in enumerate(target):
        write_png(image, tmp_path / "same" / f"{number}.png")
    generator = torch.Generator().manual_seed(0)
    for number in range(30):
        stripes = torch.randint(0, 256, (3, 1, 8), generator=generator).expand(3, 8, 8).to(torch.uint8)
        write_png(stripes, tmp_path / "other" / f"{number}.png")
    picture = tmp_path / "check.png"
    code, out, _ = run_cli("check", finished, tmp_path / "same", "--out", picture)
    assert code == 0
    assert "These images look like what the classifier was adapted to." in out
    assert "in nine of ten cases" in out
    with Image.open(picture) as drawn:
        assert drawn.width > 400
    out = run_cli("check", finished, tmp_path / "other", "--out", picture)[1]
    assert "look like what" not in out
    assert str(tmp_path / "other") in out
    assert run_cli("check", finished, tmp_path / "none")[0] == 2


def test_figures_and_report(finished: Path, run_cli: Cli, small_analysis: None, tmp_path: Path) -> None:
    code, out, _ = run_cli("figures", finished, "--format", "png", "--out", tmp_path / "figures")
    assert code == 0
    assert f"{tmp_path / 'figures' / 'confusion.png'}  Confusion matrices before and after" in out
    assert not list((tmp_path / "figures").glob("*.pdf"))
    code, out, _ = run_cli("report", finished)
    assert code == 0
    assert out.startswith(f"{finished / 'report.html'}: ")
    assert (finished / "report.html").stat().st_size > 100_000
    code, out, _ = run_cli("report", finished, finished, "--out", tmp_path / "new" / "two.html")
    assert code == 0
    assert "Comparison of runs" in (tmp_path / "new" / "two.html").read_text()


def test_data_commands(run_cli: Cli, tmp_path: Path, make_folder: Callable[..., Path]) -> None:
    code, out, _ = run_cli("data", "list", "--data-root", tmp_path)
    assert code == 0
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert lines["digits"].endswith("ready")
    assert "to fetch: mnist/train-images-idx3-ubyte.gz" in lines["mnist"]
    code, out, _ = run_cli("data", "prepare", "digits", "digits-m", "--image-size", 16)
    assert code == 0
    assert out.count("1,197 train, 200 val, 400 test\n  md5 ") == 2
    code, out, _ = run_cli("data", "show", "digits-m", "--out", tmp_path / "picture.png", "--json")
    assert code == 0
    assert (tmp_path / "picture.png").stat().st_size > 1000
    assert json.loads(out)["splits"]["test"] == 400
    code, out, _ = run_cli("data", "show", make_folder("pets"), "--out", tmp_path / "pets.png")
    assert code == 0
    assert re.search(r"class +train +val +test\n +cat +10 +1 +1\n +dog +10 +1 +1\n", out)
    assert f"picture: {tmp_path / 'pets.png'}" in out
    target = make_folder("wild", ("dog", "lynx"), 20)
    code, out, _ = run_cli("data", "show", target, "--target-of", tmp_path / "pets", "--out", tmp_path / "pets.png")
    assert "20 images of other classes, trained on but not measured: lynx (20)" in out
    assert run_cli("data", "prepare")[0] == 2
    code, out, err = run_cli("data", "show", make_folder("flat", (".",), 20), "--out", tmp_path / "flat.png")
    assert (code, "18 train, 2 val, 0 test" in out) == (0, True)
    assert "as a target: a source needs at least two classes" in err
    assert run_cli("data", "show", tmp_path / "nowhere")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run"], "name a source and a target"),
        (["run", "digits"], "name a target beside the source digits"),
        (["run", "digits", "digits-m", "--threads", "0"], "--threads must be at least 1, not 0"),
        (["run", "digits", "digits-m", "--method", "self-training", "--steps", "9"], "It has --stage-steps"),
        (["run", "digits", "digits-m", "--budget", "9m"], "cyclegan has no --budget, a setting of auto"),
        (["run", "~nosuch/a", "digits-m"], "no such folder"),
        (["run", "digits", "digitsm"], "Did you mean 'digits-m'"),
        (["run", "digits", "./nowhere"], "no such folder: nowhere"),
        (["run", "digits", "digits-m", "--method", "cyclgan"], "Did you mean 'cyclegan'"),
        (["run", "digits", "digits-m", "--preset", "fsat"], "Did you mean 'fast'"),
        (["run", "digits", "digits-m", "--cycle-weigth", "3"], "Did you mean --cycle-weight"),
        (["run", "digits", "digits-m", "--lr", "-1"], "--lr must be above 0, not -1.0"),
        (["run", "digits", "digits-m", "--width", "wide"], "unable to convert"),
        (["run", "digits", "digits-m", "--adapt", "later"], "offline"),
        (["run", "digits", "digits-m", "--image-size", "4"], "image size 4 is out of range"),
        (["run", "digits", "digits-m", "--device", "abacus"], "device 'abacus' cannot be used"),
        (["run", "--resume", "nowhere"], "no run at nowhere"),
        (["rum"], 'Did you mean "run"'),
        (["evaluate", "nowhere"], "no run at nowhere"),
        (["figures", "nowhere"], "no run at nowhere"),
        (["report", "nowhere"], "no run at nowhere"),
        (["report"], "name a run, such as: acclimate report runs/mine"),
        (["translate", "nowhere", "digits", "out"], "no run at nowhere"),
        (["predict", "nowhere", "a.png"], "no run at nowhere"),
        (["data", "show", "mnits"], "Did you mean 'mnist'"),
    ],
)
def test_mistakes_get_one_clear_line_and_exit_code_2(
    run_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli(*arguments)
    assert code == 2
    assert message in " ".join(err.split()).replace(" │ │ ", " ")
    assert "Traceback" not in err
    assert out == ""
    assert not list(tmp_path.iterdir())


def test_empty_and_single_class_folders(run_cli: Cli, tmp_path: Path, make_folder: Callable[..., Path]) -> None:
    (tmp_path / "empty").mkdir()
    code, _, err = run_cli("run", tmp_path / "empty", "digits", "--out", tmp_path / "run")
    assert (code, "no image in" in err) == (2, True)
    code, _, err = run_cli("run", make_folder("one", ("cat",)), tmp_path / "one", "--out", tmp_path / "run")
    assert (code, "at least two classes" in err) == (2, True)


def test_an_output_folder_that_holds_another_run(finished: Path, run_cli: Cli) -> None:
    code, _, err = run_cli("run", "digits", "digits-m", "--out", finished)
    assert code == 2
    assert f"--resume {finished}" in err


def test_corrupt_images_are_skipped_unless_strict(
    run_cli: Cli, tmp_path: Path, make_folder: Callable[..., Path]
) -> None:
    source, target = make_folder("s", count=30), make_folder("t", ("x",), 30)
    (target / "x" / "000.png").write_bytes(b"broken")
    arguments = ("run", source, target, "--preset", "demo", *OPTIONS)
    code, _, err = run_cli(*arguments, "--strict", "--out", tmp_path / "strict")
    assert (code, "000.png: not a readable image" in err) == (2, True)
    code, out, err = run_cli(*arguments, "--out", tmp_path / "run")
    assert code == 0
    assert "skipped 1 of 30 files" in err
    assert "the target has no labels: accuracy unknown" in out


@pytest.mark.skipif(shutil.which("mount") is None or sys.platform != "linux", reason="needs Linux's tmpfs")
def test_no_space_left_is_said_and_the_run_can_go_on(run_cli: Cli, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", small], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        code, _, err = run_cli("run", "digits", "digits-m", "--preset", "demo", "--out", small / "run", *OPTIONS)
        assert code == 2
        assert "no space left on the device" in err.lower()
        assert "Traceback" not in err
        subprocess.run(["mount", "-o", "remount,size=100m", small], check=True)
        assert run_cli("run", "--resume", small / "run")[0] == 0
    finally:
        subprocess.run(["umount", "-l", small], check=False)


def test_help_shows_the_presets_own_defaults(run_cli: Cli) -> None:
    code, out, _ = run_cli("run", "--help", "--preset", "notebook")
    text = " ".join(out.replace("│", " ").split())
    assert code == 0
    assert (
        "--images INT Training images a domain that the translator sees, the first so many; 0 for all. [default: 4096]"
        in text
    )
    assert "--steps INT" in text
    code, out, _ = run_cli("run", "--help", "--method", "source-only")
    assert "--cycle-weight" not in out


def test_help_and_mistakes_do_not_wait_for_torch() -> None:
    script = (
        "import sys, acclimate.commands as c\n"
        "try: c.main(['run', '--help'])\n"
        "except SystemExit: assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_it_runs_as_a_module() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "acclimate", "--version"], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == __version__


def test_an_interruption_says_how_a_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("acclimate.data.domains.open_domain", interrupted)
    monkeypatch.setattr("acclimate.pipeline.starting.start", interrupted)
    with pytest.raises(SystemExit) as exit_:
        main(["data", "prepare", "digits"])
    assert exit_.value.code == 130
    assert "".join(capsys.readouterr()).strip().endswith("interrupted")
    with pytest.raises(SystemExit) as exit_:
        main(["run", "digits", "digits-m"])
    assert exit_.value.code == 130
    assert "interrupted; a run goes on with: acclimate run --resume RUN" in "".join(capsys.readouterr())


def test_the_source_is_the_first_word_that_no_option_takes() -> None:
    for words in ("a b --seed 1", "--data-root d a b", "--strict a b", "--no-target-only a b", "--seed=1 a --lr 2 b"):
        assert _source(["run", *words.split()]) == "a", words
    assert _source(["run", "--resume", "a"]) is None


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_complete(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_cli: Callable[..., tuple[int, str, str]]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    code, *_ = run_cli("--install-completion", "--shell", shell)
    assert code == 0
    written = "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    assert "acclimate" in written
    assert "translate" in written
