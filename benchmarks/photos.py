"""PACS, all twelve directions: every method of acclimate on a frozen backbone's features, and its peers on the same.

``python benchmarks/photos.py --data PACS --out docs/results/photos.json`` adapts between the folders of PACS, each a
domain with a folder a class, and writes its file as it goes; the same command goes on where it was stopped, and writes
a table beside it at the end. The peers are skada's on the same features, standardised, with their defaults: CORAL,
subspace alignment (256 dimensions, as its default asks for more images than some domains have), the optimal transport
mapping, and its deep DANN and MCC on a bottleneck such as ours (all images are trained on: its default holds out some
by labels, which targets have not). They are left out where ``pip install skada pot skorch`` has not been done.

``--tune photo:sketch,...`` then trains the whole backbone in these directions, with the first seed.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import acclimate
from acclimate.pipeline.environment import environment
from acclimate.runs.kinds import tested_images
from acclimate.training.state import write_json

DOMAINS = ("photo", "art_painting", "cartoon", "sketch")
DIRECTIONS = [(source, target) for source in DOMAINS for target in DOMAINS if source != target]
METHODS = ("self-training", "dann", "cdan", "mcc", "shot")
TUNED = "self-training, --tune all"
LEGEND = """Accuracy in % on the target's test images, which no training saw; P photo, A art painting, C cartoon, S
sketch of PACS. All stand on features of EfficientNet-Lite0, computed once; source-only sees the target as it sees the
source. Logistic regression (scikit-learn) and skada are what else can be installed, at their defaults, on the features
that our adapted classifiers have, each domain's brought to mean 0 and deviation 1, which adapts by itself: so logistic
regression of the source alone is above source-only. Seconds are of a training, features and judging not among them, on
one thread with other trainings beside. The spread of the mean is over seeds."""

Features = tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]
"""Source features and labels, target features, and the target's test features and labels."""


def ours(
    data: Path, source: str, target: str, method: str, seed: int, out: Path, **settings: Any
) -> list[dict[str, Any]]:
    """Adapt in one direction; return what the run measured, and with self-training the bars, too."""
    begin = time.monotonic()
    run = acclimate.adapt(data / source, data / target, method=method, preset="photos", seed=seed, out=out, **settings)
    result, wall = run.run.result, time.monotonic() - begin
    common = {
        "source": source,
        "target": target,
        "seed": seed,
        "test_images": tested_images(result),
    }
    seconds = result["seconds"]
    found = [
        {
            **common,
            "method": TUNED if settings else method,
            "accuracy": result["accuracy"]["mean"],
            "training_seconds": round(seconds["translator"] + seconds["classifier"], 1),
            "wall_seconds": round(wall, 1),
        }
    ]
    if method == "self-training" and not settings:
        for bar in ("source_only", "target_only"):
            measured, name = result["baselines"][bar]["mean"], bar.replace("_", "-")
            found.append({**common, "method": name, "accuracy": measured, "training_seconds": seconds[bar]})
    return found


def features_of(run: acclimate.Adaptation) -> Features:
    """Return what the adapted classifier of a run is trained and tested on."""
    source = run.encoded(run.data.source_train, "adapted", "source")
    target = run.encoded(run.data.target_train, "adapted", "target")
    test = run.encoded(run.target.labelled("test"), "adapted", "target")
    return tuple(one.numpy() for one in (source.pixels, source.labels, target.pixels, test.pixels, test.labels))  # type: ignore[return-value]


class Bottleneck(torch.nn.Module):
    """Features to logits as skada's deep methods want it: they hand over weights, too."""

    def __init__(self, classes: int, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.features = torch.nn.Sequential(torch.nn.LazyLinear(256), torch.nn.BatchNorm1d(256), torch.nn.ReLU())
        self.head = torch.nn.Linear(256, classes)

    def forward(self, x: torch.Tensor, sample_weight: torch.Tensor | None = None) -> torch.Tensor:
        result: torch.Tensor = self.head(self.features(x))
        return result


def peers(seed: int, classes: int) -> dict[str, Callable[[], Any]]:
    """Return makers of the peers that are installed."""
    try:
        import skada
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        return {}

    def base() -> LogisticRegression:
        return LogisticRegression(max_iter=1000)

    found: dict[str, Callable[[], Any]] = {
        "logistic regression": base,
        "skada CORAL": lambda: skada.CORAL(base()),
        "skada subspace alignment": lambda: skada.SubspaceAlignment(base(), n_components=256, random_state=seed),
        "skada OT mapping": lambda: skada.OTMapping(base()),
    }
    try:
        from skada import deep
    except ImportError:
        return found

    settings = {"layer_name": "features", "train_split": None, "verbose": 0}
    found["skada deep DANN"] = lambda: deep.DANN(Bottleneck(classes, seed), num_features=256, **settings)
    found["skada deep MCC"] = lambda: deep.MCC(Bottleneck(classes, seed), **settings)
    return found


def peer(build: Callable[[], Any], features: Features) -> float:
    """Fit a peer on features of both domains, the target's labels masked; return its accuracy on the test images."""
    from sklearn.preprocessing import StandardScaler

    x, labels, t, test, truth = features
    x, scaler = StandardScaler().fit_transform(x), StandardScaler().fit(t)
    t, test = scaler.transform(t), scaler.transform(test)
    model = build()
    if type(model).__module__.startswith("sklearn.linear_model"):
        return float((model.fit(x, labels).predict(test) == truth).mean())
    both = np.concatenate([x, t]).astype(np.float32)
    y = np.concatenate([labels, np.full(len(t), -1)])
    domain = np.concatenate([np.ones(len(x), int), np.full(len(t), -2)])
    model.fit(both, y, sample_domain=domain)
    return float((model.predict(test.astype(np.float32), sample_domain=np.full(len(test), -2)) == truth).mean())


def table(entries: list[Mapping[str, Any]]) -> str:
    """Return Markdown: a table, methods by directions, of the mean over seeds in %, and what it shows."""
    short = {"photo": "P", "art_painting": "A", "cartoon": "C", "sketch": "S"}
    columns = [f"{short[source]}→{short[target]}" for source, target in DIRECTIONS]
    head = ["method", *columns, "mean", "seconds", "seeds"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for method in dict.fromkeys(entry["method"] for entry in entries):
        own = [entry for entry in entries if entry["method"] == method]
        cells = [[e["accuracy"] for e in own if (e["source"], e["target"]) == one] for one in DIRECTIONS]
        shown = [f"{100 * fmean(cell):.0f}" if cell else "–" for cell in cells]
        seeds = sorted({entry["seed"] for entry in own})
        means = [fmean(e["accuracy"] for e in own if e["seed"] == seed) for seed in seeds]
        spread = f" ± {100 * pstdev(means):.1f}" if len(means) > 1 else ""
        mean = f"{100 * fmean(means):.1f}{spread}" if all(cells) else "–"
        seconds = fmean(entry["training_seconds"] for entry in own)
        lines.append(f"| {' | '.join([method, *shown, mean, f'{seconds:.1f}', str(len(seeds))])} |")
    return "\n".join([*lines, "", LEGEND])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder that has the four domains")
    parser.add_argument("--out", type=Path, default=Path("docs/results/photos.json"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0, help="0 for all cores")
    parser.add_argument("--tune", default="", help="directions in which the whole backbone is trained, too")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    kept = json.loads(arguments.out.read_text())["results"] if arguments.out.exists() else []
    done = {(one["method"], one["source"], one["target"], one["seed"]) for one in kept}
    protocol: dict[str, Any] = {}
    for seed in range(arguments.seeds):
        for source, target in DIRECTIONS:
            with tempfile.TemporaryDirectory() as folder:
                for method in METHODS:
                    if (method, source, target, seed) not in done:
                        kept += ours(arguments.data, source, target, method, seed, Path(folder) / method)
                        print(json.dumps(kept[-1]), flush=True)
                run = acclimate.start(
                    arguments.data / source,
                    arguments.data / target,
                    preset="photos",
                    seed=seed,
                    out=Path(folder) / "features",
                )
                for name, build in peers(seed, len(run.source.classes)).items():
                    if (name, source, target, seed) not in done:
                        features, begin = features_of(run), time.monotonic()
                        accuracy = peer(build, features)
                        spent = round(time.monotonic() - begin, 1)
                        kept.append(
                            {
                                "source": source,
                                "target": target,
                                "seed": seed,
                                "method": name,
                                "test_images": len(features[-1]),
                                "accuracy": round(accuracy, 6),
                                "training_seconds": spent,
                            }
                        )
                        print(json.dumps(kept[-1]), flush=True)
                protocol = {
                    "inductive": True,
                    "backbone": run.config.backbone,
                    "image_size": run.config.image_size,
                    "backbone_statistics": run.config.backbone_statistics,
                    "splits": {**protocol.get("splits", {}), source: run.source.sizes()},
                    "data": {**protocol.get("data", {}), source: run.source.manifest()["md5"]},
                }
                environment_ = environment(run.engine)
                write_json(arguments.out, {"protocol": protocol, "results": kept, **environment_})
    for source, target in (one.split(":") for one in arguments.tune.split(",") if one):
        if (TUNED, source, target, 0) not in done:
            with tempfile.TemporaryDirectory() as folder:
                kept += ours(arguments.data, source, target, "self-training", 0, Path(folder) / "run", tune="all")
            print(json.dumps(kept[-1]), flush=True)
            write_json(arguments.out, json.loads(arguments.out.read_text()) | {"results": kept})
    arguments.out.with_suffix(".md").write_text(table(kept) + "\n")
    print(table(kept))


if __name__ == "__main__":
    main()
