"""Networks that several methods or stages share: one small file each."""

from __future__ import annotations

from acclimate.networks.backbones import Backbone, BackboneFeatures, TwoViews, open_backbone, register_backbone
from acclimate.networks.chain import Chain
from acclimate.networks.classifiers import (
    CLASSIFIERS,
    FEATURE_CLASSIFIERS,
    FeatureClassifier,
    GTAClassifier,
    ImageClassifier,
    TunedClassifier,
    build_classifier,
)
from acclimate.networks.discriminators import NoisyDiscriminator, PooledDiscriminator
from acclimate.networks.domain_statistics import DomainStatistics, measure_statistics, statistics_kept
from acclimate.networks.initialisation import init_glorot, init_normal, parameter_count
from acclimate.networks.patchgan import LargePatchGAN, PatchGAN
from acclimate.networks.residual import ResidualGenerator
from acclimate.networks.resnet import ResNetGenerator
from acclimate.networks.unet import UNet

__all__ = [
    "CLASSIFIERS",
    "FEATURE_CLASSIFIERS",
    "Backbone",
    "BackboneFeatures",
    "Chain",
    "DomainStatistics",
    "FeatureClassifier",
    "GTAClassifier",
    "ImageClassifier",
    "LargePatchGAN",
    "NoisyDiscriminator",
    "PatchGAN",
    "PooledDiscriminator",
    "ResNetGenerator",
    "ResidualGenerator",
    "TunedClassifier",
    "TwoViews",
    "UNet",
    "build_classifier",
    "init_glorot",
    "init_normal",
    "measure_statistics",
    "open_backbone",
    "parameter_count",
    "register_backbone",
    "statistics_kept",
]
