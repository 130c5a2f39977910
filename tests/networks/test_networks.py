from __future__ import annotations

import math

import pytest
import torch

from acclimate.errors import AcclimateError
from acclimate.methods.cogan.networks import CoupledDiscriminator, CoupledGenerator
from acclimate.methods.dtn.networks import DTNDiscriminator, DTNEncoder, DTNGenerator
from acclimate.methods.gen_to_adapt.networks import ClassDiscriminator, FeatureGenerator
from acclimate.networks import (
    CLASSIFIERS,
    GTAClassifier,
    LargePatchGAN,
    NoisyDiscriminator,
    PatchGAN,
    PooledDiscriminator,
    ResidualGenerator,
    ResNetGenerator,
    UNet,
    build_classifier,
    init_glorot,
    init_normal,
    parameter_count,
)


def test_parameter_counts_are_the_papers() -> None:
    assert parameter_count(UNet(3, 32)) == 2_918_435
    assert parameter_count(PatchGAN(3, 64)) == 224_897
    assert parameter_count(ResidualGenerator(3, 64, 6)) == 460_547
    assert parameter_count(ResNetGenerator(3, 64, 6)) == 7_841_411
    assert parameter_count(LargePatchGAN(3, 64)) == 2_765_633
    assert parameter_count(GTAClassifier(3, 10)) == 330_058
    assert parameter_count(build_classifier("dann", 3, 10, 32)) == 172_090
    assert parameter_count(build_classifier("dann-bn", 3, 10, 32)) == 221_752
    assert parameter_count(build_classifier("lenet", 3, 10, 32)) == 657_080
    assert parameter_count(build_classifier("conv7", 3, 10, 32)) == 1_166_506
    assert parameter_count(build_classifier("conv7-wide", 3, 10, 32)) == 2_620_666
    assert parameter_count(build_classifier("wrn-28-2", 3, 10, 32)) == 1_467_610
    assert parameter_count(CoupledGenerator(1, 28)) == 7_842_694 - 1_920  # the biases that batch norm cancels
    assert parameter_count(CoupledDiscriminator(1, 10, 28)) == 432_102
    assert parameter_count(FeatureGenerator(128 + 11, 3, 32)) == 4_090_752
    assert parameter_count(ClassDiscriminator(3, 10)) == 668_427


@pytest.mark.parametrize("image_size", [8, 15, 16, 28, 32, 64, 128])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_size_and_channel_count_keeps_shapes_and_ranges(image_size: int, channels: int) -> None:
    images = torch.rand(2, channels, image_size, image_size) * 2 - 1
    redrawn = UNet(channels, 4, image_size)(images)
    assert redrawn.shape == images.shape
    assert redrawn.abs().max() <= 1
    scores = PatchGAN(channels, 4, image_size)(images)
    side = math.ceil(math.ceil(image_size / 2) / 2)
    assert scores.shape == (2, 1, side, side)
    assert scores.min() >= 0
    assert scores.max() <= 1
    redrawn = ResidualGenerator(channels, 4, 1, image_size, 5)(images, torch.randn(2, 5))
    assert redrawn.shape == images.shape
    assert redrawn.abs().max() <= 1
    for discriminator in (NoisyDiscriminator, PooledDiscriminator):
        assert discriminator(channels, 4, image_size)(images).shape == (2, 1)
    features = DTNEncoder(channels, 4, image_size, 6)(images)
    assert features.shape == (2, 6)
    drawn = DTNGenerator(channels, 4, image_size, 6)(features)
    assert drawn.shape == images.shape
    assert max(drawn.abs().max(), features.abs().max()) <= 1
    assert DTNDiscriminator(channels, 4, image_size)(images).shape == (2, 3)
    for name in CLASSIFIERS:
        classifier = build_classifier(name, channels, 7, image_size)
        assert classifier.features(images).shape == (2, classifier.feature_size)
        assert classifier(images).shape == (2, 7)
    assert build_classifier("gta", channels, 7, image_size).feature_size == 128
    drawn = CoupledGenerator(channels, image_size, latent=5, width=4)(torch.randn(2, 5))
    assert [one.shape for one in drawn] == [images.shape] * 2
    discriminator = CoupledDiscriminator(channels, 7, image_size)
    assert discriminator(*drawn).shape == (4, 1)
    assert discriminator.label(discriminator.features_of_target(images)).shape == (2, 7)
    redrawn = FeatureGenerator(20, channels, image_size, noise=3, width=4)(torch.randn(2, 13), torch.eye(7)[[1, 2]])
    assert redrawn.shape == images.shape
    assert [logits.shape for logits in ClassDiscriminator(channels, 7, width=4)(redrawn)] == [(2, 1), (2, 7)]
    assert max(one.abs().max() for one in (*drawn, redrawn)) <= 1


@pytest.mark.parametrize(("network", "seen"), [(PatchGAN, 23), (LargePatchGAN, 70)])
def test_patchgans_see_patches_of_their_size(network: type[torch.nn.Module], seen: int) -> None:
    discriminator = network(3, 8, 160).double()
    for module in discriminator.modules():
        if isinstance(
            module, torch.nn.GroupNorm
        ):  # a norm sees the whole map: the receptive field is the convolutions'
            module.forward = lambda x: x  # type: ignore[method-assign]
    images = torch.rand(1, 3, 160, 160, dtype=torch.float64, requires_grad=True)
    discriminator(images)[0, 0, 9, 9].backward()
    assert images.grad is not None
    rows, columns = images.grad.abs().sum((0, 1)).nonzero(as_tuple=True)
    assert rows.max() - rows.min() + 1 == seen
    assert columns.max() - columns.min() + 1 == seen


@pytest.mark.parametrize("shape", [(16, 16), (37, 66), (128, 128)])
def test_the_generator_for_photos_takes_any_size(shape: tuple[int, int]) -> None:
    images = torch.rand(2, 3, *shape) * 2 - 1
    redrawn = ResNetGenerator(3, 4, 1)(images)
    assert redrawn.shape == images.shape
    assert redrawn.abs().max() <= 1


@pytest.mark.parametrize("network", [UNet, PatchGAN])
def test_impossible_sizes_are_refused_with_those_that_do(network: type[torch.nn.Module]) -> None:
    with pytest.raises(AcclimateError, match=r"image size 4 is too small.*use 8 or more"):
        network(3, 4, 4)


def test_classifier_refuses_tiny_images_and_single_classes() -> None:
    with pytest.raises(AcclimateError, match="use 8 or more"):
        GTAClassifier(3, 10, 6)
    with pytest.raises(AcclimateError, match="at least two classes"):
        GTAClassifier(3, 1, 32)


def test_counting_features_teaches_no_batch_norm() -> None:
    classifier = build_classifier("dann-bn", 3, 10, 16)
    assert classifier.training
    assert all(module.training for module in classifier.modules())
    assert classifier.features[1].running_mean.abs().max() == 0
    assert classifier.features[1].num_batches_tracked == 0


def test_dropout_modes_at_inference() -> None:
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    network = UNet(3, 8, 16)
    init_normal(network, std=0.2)
    network.eval()

    def twice(mode: str) -> tuple[torch.Tensor, torch.Tensor]:
        for module in network.modules():
            if hasattr(module, "mode"):
                module.mode = mode
        with torch.no_grad():
            return network(images), network(images)

    first, second = twice("alive")
    assert not torch.equal(first, second)
    for mode in ("fixed", "off"):
        first, second = twice(mode)
        assert torch.equal(first, second)
    alone = torch.cat([network(image[None]) for image in images])
    assert torch.allclose(alone, second, atol=1e-4)
    assert not torch.allclose(twice("fixed")[0], twice("off")[0])


def test_fixed_mask_does_not_depend_on_the_batch() -> None:
    network = UNet(3, 8, 16, dropout_mode="fixed").eval()
    init_normal(network, std=0.2)
    images = torch.rand(5, 3, 16, 16)
    assert torch.allclose(network(images)[3:4], network(images[3:4]), atol=1e-4)


def test_initialisation() -> None:
    network = UNet()
    init_normal(network)
    weights = torch.cat([m.weight.flatten() for m in network.modules() if isinstance(m, torch.nn.Conv2d)])
    assert abs(weights.std().item() - 0.02) < 2e-4
    assert abs(weights.mean().item()) < 1e-4
    classifier = GTAClassifier()
    init_glorot(classifier)
    bound = (6 / (25 * (3 + 64))) ** 0.5
    assert classifier.features[0].weight.abs().max() <= bound
    assert classifier.features[0].bias.abs().max() == 0


def test_group_norm_is_instance_norm() -> None:
    from acclimate.networks.unet import instance_norm

    x = torch.randn(4, 6, 5, 5)
    assert torch.allclose(instance_norm(6)(x), torch.nn.InstanceNorm2d(6, eps=1e-3)(x), atol=1e-6)


def test_noise_makes_the_residual_generator_draw_something_else() -> None:
    generator, images = ResidualGenerator(3, 8, 1, 16, 5).eval(), torch.rand(4, 3, 16, 16)
    first, second = (generator(images, torch.randn(4, 5)) for _ in range(2))
    assert not torch.equal(first, second)
    silence = torch.zeros(4, 5)
    assert torch.equal(generator(images, silence), generator(images, silence))


def test_the_noisy_discriminator_is_noisy_while_training_only() -> None:
    discriminator, images = NoisyDiscriminator(3, 8, 16, noise=0.2, dropout=0.0), torch.rand(4, 3, 16, 16)
    assert not torch.equal(discriminator(images), discriminator(images))
    discriminator.eval()
    assert torch.equal(discriminator(images), discriminator(images))
    quiet = NoisyDiscriminator(3, 8, 16, noise=0.0, dropout=0.0)
    assert torch.equal(quiet(images), quiet(images))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_noise_has_the_asked_for_spread_in_any_layout(memory_format: torch.memory_format) -> None:
    from acclimate.networks.discriminators import GaussianNoise

    torch.manual_seed(0)
    x = torch.zeros(8, 16, 20, 20).to(memory_format=memory_format)
    noise = GaussianNoise(0.2)(x)
    assert noise.shape == x.shape
    assert noise.is_contiguous(memory_format=memory_format)
    assert noise.std().item() == pytest.approx(0.2, rel=0.02)
    assert abs(noise.mean().item()) < 0.005


def test_the_patchgans_probabilities_are_squashed_logits() -> None:
    discriminator, images = PatchGAN(3, 4, 16), torch.rand(2, 3, 16, 16)
    assert torch.equal(discriminator(images), discriminator.logits(images).sigmoid())


def test_a_pool_before_the_relu_gives_the_papers_order_with_its_gradients() -> None:
    torch.manual_seed(0)
    classifier, images = GTAClassifier(3, 10, 32), torch.randn(4, 3, 32, 32)
    ours = classifier(images)
    ours.sum().backward()
    gradients = [parameter.grad.clone() for parameter in classifier.parameters()]
    classifier.zero_grad()
    layers = list(classifier.features)
    paper = [layers[index] for index in (0, 2, 1, 3, 5, 4, 6, 8, 7, 9)]
    theirs = classifier.head(torch.nn.Sequential(*paper)(images))
    theirs.sum().backward()
    assert torch.equal(ours, theirs)
    for gradient, parameter in zip(gradients, classifier.parameters(), strict=True):
        assert torch.equal(gradient, parameter.grad)
