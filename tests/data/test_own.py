"""A user's own images from tables and from Python; classes renamed and merged."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, TensorDataset

from acclimate import adapt
from acclimate.data.classes import parse_class_rules, read_class_rules
from acclimate.data.domains import DataOptions, open_domain
from acclimate.data.domains.base import SPLITS
from acclimate.errors import DataError
from acclimate.runs.adaptation import Adaptation
from helpers import TINY

SMALL = DataOptions(image_size=8)
PIXELS = np.random.default_rng(0).integers(0, 256, (30, 10, 12, 3), dtype=np.uint8)
LABELS = np.arange(30) % 3


def table(folder: Path, rows: list[dict[str, Any]], name: str = "table.csv") -> Path:
    folder.mkdir(exist_ok=True)
    for number, row in enumerate(rows):
        if row.get("path") and not Path(row["path"]).is_absolute():
            (folder / row["path"]).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(PIXELS[number % 30]).save(folder / row["path"])
    path = folder / name
    if name.endswith(".csv"):
        keys = list(rows[0])
        lines = [",".join(keys)] + [",".join(str(row.get(key, "")) for key in keys) for row in rows]
        path.write_text("\n".join(lines) + "\n")
    else:
        path.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    return path


@pytest.mark.parametrize("name", ["table.csv", "table.jsonl"])
def test_a_table_names_images_classes_and_splits(name: str, tmp_path: Path) -> None:
    rows = [
        {"path": f"some/{n}.png", "label": "ab"[n % 2], "split": ["train", "val", "test"][n // 2 % 3]}
        for n in range(24)
    ]
    domain = open_domain(table(tmp_path / "x", rows, name), SMALL)
    assert domain.classes == ("a", "b")
    assert domain.sizes() == {"train": 8, "val": 8, "test": 8}
    names = domain.names("val")
    assert names is not None
    assert set(names) == {row["path"] for row in rows if row["split"] == "val"}
    assert [f"some/{2 * k + int(label)}.png" in names for k, label in [(1, 0), (1, 1)]] == [True, True]


def test_a_table_without_labels_is_a_target(tmp_path: Path) -> None:
    path = table(tmp_path / "x", [{"path": f"{n}.png"} for n in range(10)])
    target = open_domain(path, SMALL, ("a", "b"))
    assert target.sizes() == {"train": 9, "val": 1, "test": 0}
    assert not target.has_labels
    with pytest.raises(DataError, match=r"is to be a source, but 0\.png has no label"):
        open_domain(path, SMALL)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("file,label\na.png,x\n", "its first line names no column path"),
        ("path,label,split\na.png,x,holdout\n", "line 2: split 'holdout' is none of train"),
        ("path,label\n,x\n", "line 2: no path"),
        ("path,label\n", "names no image"),
        ("", "its first line names no column path"),
    ],
)
def test_a_damaged_table_is_named_with_its_line(text: str, error: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=error):
        open_domain(tmp_path / "t.csv", SMALL)


def test_damaged_json_lines_and_missing_files(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"path": "a.png", "label": 1}\n{"path": \n')
    with pytest.raises(DataError, match=r"cannot read .*t\.jsonl"):
        open_domain(tmp_path / "t.jsonl", SMALL)
    (tmp_path / "t.jsonl").write_text("[1, 2]\n")
    with pytest.raises(DataError, match="line 1: no path"):
        open_domain(tmp_path / "t.jsonl", SMALL)
    with pytest.raises(DataError, match="cannot read"):
        open_domain(tmp_path / "gone.csv", SMALL)
    rows = [{"path": f"{n}.png", "label": "ab"[n % 2]} for n in range(12)]
    path = table(tmp_path / "x", rows)
    (tmp_path / "x" / "3.png").unlink()
    path.write_text(path.read_text().replace("5.png", f"{'5' * 300}.png"))
    (tmp_path / "x" / "5.png").unlink()
    domain = open_domain(path, SMALL)
    assert sum(domain.sizes().values()) == 10
    skipped = domain.manifest()["skipped"]
    assert isinstance(skipped, list)
    assert "3.png" in skipped[0]


class Pairs(Dataset[Any]):
    classes = ("zero", "one", "two")

    def __len__(self) -> int:
        return 30

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(PIXELS[index]), int(LABELS[index])


class Rows(list):  # type: ignore[type-arg]
    @property
    def features(self) -> dict[str, object]:
        return {"image": object(), "label": SimpleNamespace(names=["zero", "one", "two"])}


FORMS: dict[str, Callable[[], Any]] = {
    "arrays": lambda: (PIXELS, LABELS),
    "names": lambda: (PIXELS, np.array(["zero", "one", "two"])[LABELS]),
    "channels first": lambda: (torch.from_numpy(PIXELS).permute(0, 3, 1, 2), torch.from_numpy(LABELS)),
    "floats": lambda: (PIXELS / 255, LABELS.tolist()),
    "dataset": Pairs,
    "tensors": lambda: TensorDataset(torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255, torch.from_numpy(LABELS)),
    "loader": lambda: DataLoader(Pairs(), batch_size=7, shuffle=True),
    "rows": lambda: Rows({"image": Image.fromarray(p), "label": int(k)} for p, k in zip(PIXELS, LABELS, strict=True)),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_the_same_images_is_the_same_domain(form: str) -> None:
    domain = open_domain(FORMS[form](), SMALL)
    names = ("zero", "one", "two") if form in ("dataset", "loader", "rows") else ("0", "1", "2")
    assert domain.classes == (("one", "two", "zero") if form == "names" else names)
    assert domain.sizes() == {"train": 24, "val": 3, "test": 3}
    expected = open_domain((PIXELS, LABELS), SMALL)
    if form != "names":
        for split in SPLITS:
            assert torch.equal(domain.labelled(split).labels, expected.labelled(split).labels)
            assert torch.equal(domain.labelled(split).pixels, expected.labelled(split).pixels)


def test_gray_images_images_alone_and_given_splits() -> None:
    gray = open_domain(PIXELS[..., 0], SMALL, ("a", "b"))
    assert not gray.has_labels
    assert gray.images("train").pixels.shape == (27, 3, 8, 8)
    parts = {"train": (PIXELS[:20], LABELS[:20]), "test": (PIXELS[20:], LABELS[20:])}
    assert open_domain(parts, SMALL).sizes() == {"train": 17, "val": 3, "test": 10}


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ((PIXELS, LABELS[:5]), "30 images were handed over with 5 labels"),
        ((PIXELS.astype(np.int32), LABELS), "uint8 in .* not int32"),
        ((PIXELS / 2.0, LABELS), "float images are in"),
        ((np.full((4, 8, 8), np.nan), [0, 1, 0, 1]), "float images are in"),
        ((PIXELS[..., :2], LABELS), r"not \[10, 12, 2\]"),
        (3, "a int cannot be read as images"),
        ([{"picture": 1}], "row 0 has no image: its keys are picture"),
        ([], "no image"),
        ((PIXELS, [None] * 30), "a source needs a label for each image"),
        ((PIXELS, [[1]] * 30), "is no label"),
    ],
)
def test_what_cannot_be_read_is_said(value: Any, error: str) -> None:
    with pytest.raises(DataError, match=error):
        open_domain(value, SMALL)


def test_a_run_on_arrays_is_opened_again(tmp_path: Path) -> None:
    target = (255 - PIXELS, LABELS)
    short = {name: TINY[name] for name in ("image_size", "repeats", "classifier_epochs")}
    run = adapt((PIXELS, LABELS), target, preset="fast", method="source-only", out=tmp_path / "run", **short)
    again = Adaptation(tmp_path / "run")
    assert again.source.classes == ("0", "1", "2")
    assert again.target.has_labels
    pixels = run.target.images("test").pixels
    assert torch.equal(again.classifier().probabilities(pixels), run.classifier().probabilities(pixels))
    assert again.run.config["source"].startswith("memory:")


def test_arrays_are_found_as_they_were_read(tmp_path: Path) -> None:
    other = (255 - PIXELS, LABELS)
    short = {name: TINY[name] for name in ("image_size", "repeats", "classifier_epochs")}
    settings = {"preset": "fast", "method": "source-only", **short}
    runs = [
        adapt((PIXELS, LABELS), other, out=tmp_path / "rgb", **settings),
        adapt((PIXELS, LABELS), other, out=tmp_path / "gray", channels=1, **settings),
        adapt((PIXELS, LABELS), other, out=tmp_path / "cropped", fit="crop", **settings),
        adapt(other, (PIXELS, LABELS), out=tmp_path / "reversed", **settings),
    ]
    assert [run.source.images("train").pixels.shape[1] for run in runs] == [3, 1, 3, 3]
    rgb, gray, cropped, back = ([run.source.prepare(), run.target.prepare()] for run in runs)
    assert len({*rgb, *gray, *cropped, *back}) == 8


def test_several_methods_are_tried_on_arrays(tmp_path: Path) -> None:
    settings = {"image_size": 8, "classifier_images": 30, "classifier_epochs": 1, "stage_steps": 4, "budget": "10m"}
    settings |= {"classifier_batch_size": 8, "target_batch_size": 8, "candidates": "self-training"}
    run = adapt((PIXELS, LABELS), (255 - PIXELS, LABELS), method="auto", out=tmp_path / "run", **settings)
    tried = {one["name"] for one in run.run.result["choice"]["candidates"]}
    assert "self-training" in tried


def test_class_rules() -> None:
    assert parse_class_rules("pickup, truck -> vehicle; tabby -> cat # cats\n\n") == {
        "pickup": "vehicle",
        "truck": "vehicle",
        "tabby": "cat",
    }
    for wrong in ("pickup vehicle -> ", "-> x", "a,,b -> x", "just words"):
        with pytest.raises(DataError, match="a rule for classes is such as"):
            parse_class_rules(wrong)
    with pytest.raises(DataError, match="two rules rename the class 'a'"):
        parse_class_rules("a -> b; a -> c")


def test_classes_are_merged_in_both_domains(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    source, target = make_folder("s", ("pickup", "truck", "cat")), make_folder("t", ("lorry", "cat", "boat"))
    (tmp_path / "rules.txt").write_text("pickup, truck -> vehicle\nlorry -> vehicle\n")
    rules = read_class_rules(str(tmp_path / "rules.txt"))
    options = DataOptions(image_size=8, classes=rules)
    domain = open_domain(source, options)
    assert domain.classes == ("cat", "vehicle")
    aim = open_domain(target, options, domain.classes)
    assert aim.manifest()["other_classes"] == {"boat": 12}
    assert sum(len(aim.labelled(split)) for split in SPLITS) == 24
    assert sum(aim.sizes().values()) == 36
    with pytest.raises(DataError, match="cannot read the classes' rules"):
        read_class_rules(str(tmp_path / "none.txt"))


def test_a_folder_is_split_the_same_way_whatever_it_was_before(tmp_path: Path) -> None:
    for number in range(60):
        path = tmp_path / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(PIXELS[number % 30]).save(path)
    as_source = open_domain(str(tmp_path), SMALL).sizes()
    as_target = open_domain(str(tmp_path), SMALL, classes=("a", "b"))
    assert as_source == as_target.sizes() == {"train": 48, "val": 6, "test": 6}
    labels = as_target.labelled("test").labels
    assert len(labels[labels == 0]) != 3  # drawn without a look at the labels


def test_a_tilde_in_a_name_is_no_home(tmp_path: Path) -> None:
    for number in range(12):
        Image.fromarray(PIXELS[number]).save(tmp_path / f"~${number}.png")
    rows = "".join(f"~${number}.png,{'ab'[number % 2]}\n" for number in range(12))
    (tmp_path / "table.csv").write_text(f"path,label\n{rows}")
    assert sum(open_domain(tmp_path / "table.csv", SMALL).sizes().values()) == 12
    assert read_class_rules("~misc -> other") == "~misc -> other"


def test_a_small_train_folder_is_not_used_up_for_validation(tmp_path: Path) -> None:
    counts = {"train": 10, "test": 200}
    for split, count in counts.items():
        for number in range(count):
            path = tmp_path / split / "ab"[number % 2] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(PIXELS[number % 30]).save(path)
    assert open_domain(str(tmp_path), SMALL).sizes() == {"train": 6, "val": 4, "test": 200}
    assert open_domain(str(tmp_path), SMALL, classes=("a", "b")).sizes() == {"train": 5, "val": 5, "test": 200}
