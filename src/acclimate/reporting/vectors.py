"""Images as vectors: nearest neighbours, t-SNE maps."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from acclimate.runs.evaluation import EVALUATION_BATCH

PERPLEXITY, COMPONENTS = 30, 50


def nearest(queries: Tensor, among: Tensor) -> Tensor:
    """Find the L2-nearest row of ``among`` for each row of ``queries``: indices int64 ``[N]``, the first of equals."""
    queries = queries.float()
    best = torch.full((len(queries),), torch.inf)
    index = torch.zeros(len(queries), dtype=torch.int64)
    for start in range(0, len(among), EVALUATION_BATCH):
        distances, found = torch.cdist(queries, among[start : start + EVALUATION_BATCH].float()).min(1)
        index = torch.where(distances < best, found + start, index)
        best = torch.minimum(distances, best)
    return index


def tsne(vectors: Tensor, seed: int) -> tuple[Tensor, dict[str, Any]]:
    """Return a t-SNE map (van der Maaten and Hinton, 2008) of vectors ``[N, D]``, and how it was made.

    The vectors are reduced to 50 principal components first. The map is float32 ``[N, 2]`` in [0, 1], both axes to the
    same scale.
    """
    from sklearn.decomposition import PCA  # scikit-learn takes a second
    from sklearn.manifold import TSNE

    reduced = PCA(min(COMPONENTS, *vectors.shape), random_state=seed).fit_transform(vectors.numpy())
    perplexity = min(PERPLEXITY, (len(vectors) - 1) / 3)
    method = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    points = torch.from_numpy(method.fit_transform(reduced))
    low, high = points.amin(0), points.amax(0)
    made = {
        "points": len(vectors),
        "dimensions": vectors.shape[1],
        "principal_components": reduced.shape[1],
        "perplexity": round(perplexity, 2),
        "seed": seed,
        "kl_divergence": round(float(method.kl_divergence_), 4),
    }
    return (points - (low + high) / 2) / (high - low).max() + 0.5, made
