"""The card of an exported model: what it is, what it was trained on, how right it is, where it is not to be used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from acclimate.runs.adaptation import Adaptation
from acclimate.runs.kinds import tested_images

What = Literal["classifier", "translator"]
Weights = Literal["float32", "float16", "int8"]


def about_run(adaptation: Adaptation, what: What, weights: Weights) -> dict[str, Any]:
    """Return what an exported or served model says of itself."""
    config, result = adaptation.config, adaptation.run.result
    levels = (adaptation.seen_options if what == "classifier" else adaptation.source_options).levels
    return {
        "what": what,
        "weights": weights,
        "classes": list(adaptation.task.classes),
        "image_size": config.image_size,
        "channels": config.channels,
        "fit": config.fit,
        "interpolation": config.interpolation,
        "levels": None if levels is None else list(levels),
        "method": result["method"],
        "source": Path(result["source"]).name,
        "target": Path(result["target"]).name,
        "temperature": result.get("calibration", {}).get("temperature", 1.0),
        "forecast": {name: (result["forecast"] or {}).get(name) for name in ("low", "mean", "high")},
        "acclimate": result["versions"]["acclimate"],
        "commit": result["commit"],
    }


def card(adaptation: Adaptation, about: Mapping[str, Any], compared: Mapping[str, str]) -> str:
    """Return a model card in Markdown.

    Parameters
    ----------
    adaptation
        The run.
    about
        What the exported file says of itself.
    compared
        By file, how it compares with the run.
    """
    result, protocol = adaptation.run.result, adaptation.run.result["protocol"]
    classes, forecast, is_classifier = about["classes"], result["forecast"], about["what"] == "classifier"
    shown = ", ".join(classes[:20]) + (f" and {len(classes) - 20} more" if len(classes) > 20 else "")
    lines = [
        "---",
        "library_name: onnx",
        "tags: [image-classification, domain-adaptation, acclimate]",
        "---",
        "",
        f"# {about['what'].capitalize()}, {about['source']} → {about['target']}",
        "",
        f"Made by acclimate {about['acclimate']} with `{result['method']}`, preset `{result['preset']}`, seed"
        f" {result['seed']}: labelled images of *{about['source']}* and unlabelled ones of *{about['target']}*, for"
        " whose images it is made.",
        "",
        "| | |",
        "|---|---|",
        f"| input | `images`, uint8 `[N, {about['channels']}, {about['image_size']}, {about['image_size']}]`:"
        f" {'RGB' if about['channels'] == 3 else 'gray'}, fitted by {about['fit']}, {about['interpolation']} |",
    ]
    if is_classifier:
        lines.append(f"| output | `probabilities`, float32 `[N, {len(classes)}]`, calibrated by the forecast |")
        lines.append(f"| classes | {shown} |")
    else:
        lines.append("| output | `redrawn`, uint8, as the input |")
    if forecast and is_classifier:
        low, mean, high = (100 * forecast[name] for name in ("low", "mean", "high"))
        lines.append(f"| forecast on the target, without its labels | {mean:.0f} % ({low:.0f} to {high:.0f}) |")
    if result["accuracy"] and is_classifier:
        right = 100 * result["ensemble_accuracy"]
        lines.append(f"| measured on {tested_images(result):,} target test images | {right:.1f} % |")
        for name, bar in result["baselines"].items():
            if bar and name.startswith("source"):
                lines.append(f"| {name.replace('_', '-')}, without adaptation | {100 * bar['mean']:.1f} % |")
    for name, (train, val, test) in protocol["splits"].items():
        lines.append(f"| {name}: training, validation, test images | {train:,}, {val:,}, {test:,} |")
    lines += [f"| md5 of {name.rpartition('/')[2]} | {md5} |" for name, md5 in protocol["data"].items()]
    lines += [f"| {name} against the run | {told} |" for name, told in compared.items()]
    lines += ["", "## Use", "", "```", "pip install numpy pillow onnxruntime", "python predict.py image.png", "```", ""]
    lines += ["## Limits", ""]
    lines += [f"- Seen at the end of the run: {finding['text']}." for finding in result.get("findings", [])]
    if result.get("recommendation", {}).get("use") == "unadapted" and is_classifier:
        lines.append("- By their forecasts, the classifier without adaptation is better: this one is not recommended.")
    if is_classifier:
        lines.append("- On images unlike the target's its probabilities mean little; `acclimate check` tells.")
        lines.append(f"- It knows {len(classes)} classes and calls everything one of them.")
    lines += [
        "- Licences: the weights carry what the training data and the backbone's weights allow"
        f"{' (EfficientNet-Lite0: Apache-2.0)' if adaptation.config.backbone == 'efficientnet-lite0' else ''}.",
        "",
    ]
    return "\n".join(lines)
