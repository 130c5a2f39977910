"""Two domains in, an adapted classifier out: start a run, do what it has to do, go on with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from acclimate.pipeline.stages import run_stages
from acclimate.pipeline.starting import start
from acclimate.runs.adaptation import Adaptation
from acclimate.runs.directory import Run


def adapt(
    source: Any,
    target: Any,
    *,
    method: str | None = None,
    preset: str | None = None,
    out: str | Path | None = None,
    data_root: str | Path | None = None,
    device: str = "auto",
    **settings: Any,
) -> Adaptation:
    """Adapt a classifier from a labelled source to an unlabelled target, start to end.

    Parameters
    ----------
    source, target
        A domain's name; a folder of images, the source's in one folder a class; a table of them, ``.csv`` or
        ``.jsonl``; or arrays, tensors, a dataset (:class:`acclimate.data.domains.in_memory.InMemory`).
    method
        A name in :func:`acclimate.methods.method_names`; None for what :func:`acclimate.pipeline.choice.choose` takes:
        ``self-training`` for photos and for the preset ``best``, else ``cyclegan``.
    preset
        Of the method, such as ``fast``, ``best``, ``photos``, ``paper``; None for ``photos`` or ``fast``.
    out
        The run directory; by default ``runs/SOURCE-TARGET-METHOD-PRESET-SEED``.
    data_root
        Where publishers' files lie or are downloaded to.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``.
    **settings
        Any field of the method's config.

    Returns
    -------
    Adaptation
        The finished run.

    Raises
    ------
    AcclimateError
        Anything that the caller can mend, in one line.
    """
    adaptation = start(
        source, target, method=method, preset=preset, out=out, data_root=data_root, device=device, **settings
    )
    run_stages(adaptation)
    return adaptation


def resume(run: Run | str | Path, device: str | None = None) -> Adaptation:
    """Do what a run has not done yet, and return it, finished.

    Parameters
    ----------
    run
        The run directory.
    device
        Where to compute; None takes what the run was started with.
    """
    adaptation = Adaptation(run, device)
    run_stages(adaptation)
    return adaptation
