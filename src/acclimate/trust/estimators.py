"""Estimates of a classifier's accuracy on a target without labels: plain functions, each with its equation.

``val`` are probabilities float ``[N, K]`` on labelled images like those that the classifier was trained on, their
labels int64 ``[N]``; ``target`` those on unlabelled target images, float ``[M, K]``. An estimate is a share in [0, 1]
unless it says otherwise. Each sees some errors and misses others: :mod:`acclimate.trust.forecast` weighs them.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

MOST_TRANSPORTED = 1_000
"""Images that are matched with labels at most: the matching's cost grows with the cube."""

CRITIC_WIDTH, CRITIC_STEPS, CRITIC_RATE = 64, 200, 0.01
PROBE_STEPS, PROBE_RATE, PROBE_DECAY = 150, 0.05, 1e-3
NEIGHBOURS = 5
TEMPERATURES = (-1.5, 1.5, 121)
"""Powers of ten between which temperatures are tried, and how many."""


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    """Share of right answers."""
    return float((probabilities.argmax(1) == labels).double().mean())


def confidence(probabilities: Tensor) -> float:
    """Mean of the largest probability."""
    return float(probabilities.max(1).values.double().mean())


def difference_of_confidences(val: Tensor, labels: Tensor, target: Tensor) -> float:
    """DoC: accuracy on ``val`` less what mean confidence loses from there to the target (Guillory et al., 2021).

    acc = acc(val) - (conf(val) - conf(target)), cut to [0, 1].
    """
    return _share(accuracy(val, labels) - confidence(val) + confidence(target))


def average_thresholded_confidence(val: Tensor, labels: Tensor, target: Tensor) -> float:
    """ATC: the share of the target that is surer than a threshold (Garg et al., 2022, equation 3).

    The threshold on the largest probability is where as large a share of ``val`` lies below as is misclassified there.
    """
    error = 1 - accuracy(val, labels)
    sure = val.max(1).values.double().sort().values
    wrong = round(error * len(val))
    threshold = sure[wrong - 1] if wrong else -math.inf
    return float((target.max(1).values.double() > threshold).double().mean())


def transport_accuracy(target: Tensor, prior: Tensor) -> float:
    """COT: 1 less the optimal transport from predictions to one-hot labels in the source's shares (Lu et al., 2023).

    error = min over couplings of E[|p - e_y|_1 / 2] = min E[1 - p_y], the labels y drawn from ``prior``, float ``[K]``.
    Unlike confidence it does not grow when all images are given few classes.
    """
    return 1 - float(_transport_costs(target, prior).mean())


def thresholded_transport_accuracy(val: Tensor, labels: Tensor, target: Tensor, prior: Tensor) -> float:
    """COTT: the share of the target whose transport costs less than a threshold (Lu et al., 2023).

    The threshold is where as large a share of ``val`` costs more as is misclassified there.
    """
    error = 1 - accuracy(val, labels)
    of_val = _transport_costs(val, prior).sort(descending=True).values
    wrong = round(error * len(of_val))
    threshold = of_val[wrong - 1] if wrong else math.inf
    return float((_transport_costs(target, prior) < threshold).double().mean())


def _transport_costs(probabilities: Tensor, prior: Tensor) -> Tensor:
    """Return what each image pays where all together pay least, float64 ``[N]``, evenly drawn where there are many."""
    step = -(-len(probabilities) // MOST_TRANSPORTED)
    drawn = probabilities[::step].double()
    exact = prior.double() / prior.sum() * len(drawn)
    counts = exact.floor().long()
    rest = len(drawn) - int(counts.sum())
    counts[(exact - counts).argsort(descending=True, stable=True)[:rest]] += 1  # the largest remainders
    costs = 1 - drawn.repeat_interleave(counts, 1).numpy()
    rows, columns = linear_sum_assignment(costs)
    return torch.from_numpy(costs[rows, columns])


def nuclear_norm(target: Tensor) -> float:
    """How sure and how diverse the predictions P are: |P|_* / sqrt(N min(N, K)) (Deng et al., 2023), in [0, 1]."""
    norm = torch.linalg.matrix_norm(target.double(), ord="nuc")
    return float(norm) / math.sqrt(len(target) * min(target.shape))


def disagreement_bound(val: Tensor, labels: Tensor, target: Tensor) -> float:
    """Dis2: accuracy on ``val`` less how much a critic can disagree on the target alone (Rosenfeld and Garg, 2023).

    acc = acc(val) - max over critics c of (disagreement(c, target) - disagreement(c, val)), the disagreement with the
    classifier's answers. The critics are networks of one hidden layer of the log probabilities, as in features of a
    thousand numbers one would disagree with everything; found by gradient on every other
    image, judged on the rest, cut to [0, 1].
    """
    classes = val.shape[1]
    x, t = (one.clamp(min=1e-6).log().float() for one in (val, target))
    agree, other = val.argmax(1), target.argmax(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = torch.nn.Linear(classes, CRITIC_WIDTH), torch.nn.ReLU(), torch.nn.Linear(CRITIC_WIDTH, classes)
    critic = torch.nn.Sequential(*layers)
    optimizer = torch.optim.Adam(critic.parameters(), lr=CRITIC_RATE)
    most = 0.0
    with torch.enable_grad():
        for _ in range(CRITIC_STEPS):
            on_val, on_target = critic(x), critic(t)
            apart = (on_target.argmax(1) != other)[1::2].float().mean() - (on_val.argmax(1) != agree)[
                1::2
            ].float().mean()
            most = max(most, float(apart))
            chosen = on_target.gather(1, other[:, None]).squeeze(1)
            rest = (on_target.sum(1) - chosen) / (classes - 1)
            disagreement = F.softplus(chosen - rest)[::2].mean() / math.log(2)
            loss = F.cross_entropy(on_val[::2], agree[::2]) + disagreement
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return _share(accuracy(val, labels) - most)


def probe_accuracy(features: Tensor, labels: Tensor, others: Tensor, wanted: Tensor) -> float:
    """Accuracy on ``others``, float ``[M, D]``, of a linear probe that learnt the labels of ``features``, ``[N, D]``.

    The features should be of a network that does not know what the target was given; each domain's are standardised by
    themselves. From the target and what it was given to the source and its labels this is reverse validation (Zhong et
    al., 2010): classes that were given wrongly do not come back right. From the source to the target it is how far a
    classifier agrees with the plainest adaptation that there is.
    """
    x, t = (_standardised(one.float()) for one in (features, others))
    probe = torch.nn.Linear(x.shape[1], int(max(labels.max(), wanted.max())) + 1)
    torch.nn.init.zeros_(probe.weight)
    torch.nn.init.zeros_(probe.bias)
    optimizer = torch.optim.Adam(probe.parameters(), lr=PROBE_RATE / math.sqrt(x.shape[1]), weight_decay=PROBE_DECAY)
    with torch.enable_grad():
        for _ in range(PROBE_STEPS):
            optimizer.zero_grad()
            F.cross_entropy(probe(x), labels).backward()
            optimizer.step()
        return accuracy(probe(t).detach(), wanted)


def neighbour_agreement(features: Tensor, given: Tensor) -> float:
    """Share of images with the class of most of their five nearest others, by the cosine of features ``[N, D]``."""
    count = min(NEIGHBOURS, len(features) - 1)
    if count < 1:
        return 1.0
    unit = F.normalize(_standardised(features.float()), dim=1)
    similarity = unit @ unit.T
    similarity.fill_diagonal_(-math.inf)
    nearest = given[similarity.topk(count, 1).indices]
    return float((nearest.mode(1).values == given).double().mean())


def _standardised(features: Tensor) -> Tensor:
    return (features - features.mean(0)) / features.std(0).clamp(min=1e-6)


def class_shares(probabilities: Tensor) -> Tensor:
    """Share of images that are given each class, float64 ``[K]``."""
    counts = torch.bincount(probabilities.argmax(1), minlength=probabilities.shape[1])
    return counts.double() / len(probabilities)


def shifted_shares(target: Tensor, prior: Tensor, steps: int = 200) -> Tensor:
    """Class shares of the target by maximum likelihood, float64 ``[K]`` (MLLS: Saerens et al., 2002, equation 2.9).

    Expectation maximisation of shares q: p'(y|x) ~ p(y|x) q_y / prior_y, q = mean of p', where ``prior`` are the
    shares that the classifier was trained with, float ``[K]``. Right where it is calibrated and only shares differ.
    """
    p, before = target.double(), prior.double().clamp(min=1e-6)
    shares = before / before.sum()
    for _ in range(steps):
        weighted = p * (shares / before)
        shares = (weighted / weighted.sum(1, keepdim=True).clamp(min=1e-12)).mean(0)
    return shares


def total_variation(first: Tensor, second: Tensor) -> float:
    """Half the L1 distance of two sets of shares: what share would have to move."""
    return float((first.double() - second.double()).abs().sum()) / 2


def tempered(probabilities: Tensor, by: float) -> Tensor:
    """Return probabilities float ``[N, K]`` as if their logits had been divided by a temperature."""
    return probabilities if by == 1 else (probabilities.clamp(min=1e-12).log() / by).softmax(1)


def matching_temperature(target: Tensor, expected: float) -> float:
    """Return the temperature at which mean confidence on the target, float ``[M, K]``, is the ``expected`` accuracy.

    There are no labels there to calibrate by; those of the source would leave a classifier as sure of the target as it
    is of the source.
    """
    grid = torch.logspace(*TEMPERATURES, dtype=torch.float64)
    off = torch.tensor([abs(confidence(tempered(target.double(), float(one))) - expected) for one in grid])
    return float(grid[off.argmin()])


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """ECE: mean distance of confidence and accuracy over bins of equal width, by their sizes (Guo et al., 2017)."""
    sure, chosen = probabilities.max(1)
    right = (chosen == labels).double()
    which = (sure.double() * bins).long().clamp(max=bins - 1)
    total = 0.0
    for one in which.unique():
        inside = which == one
        total += abs(float(sure[inside].double().mean() - right[inside].mean())) * int(inside.sum())
    return total / len(labels)


def _share(value: float) -> float:
    return min(max(value, 0.0), 1.0)
