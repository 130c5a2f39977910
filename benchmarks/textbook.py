"""The peer: CycleGAN and classifier training as a textbook writes them in PyTorch.

float32, eager, a DataLoader, one call a generator and image set, default optimizers, the same networks as ours.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from acclimate.data.augmentation import Policy
from acclimate.data.sets import Images, LabelledImages
from acclimate.networks import GTAClassifier, PatchGAN, UNet, build_classifier


def plain_norms(network: nn.Module) -> nn.Module:
    """Put back nn.InstanceNorm2d, which a textbook uses, where ours has the equal group norm."""
    for name, child in network.named_children():
        if isinstance(child, nn.GroupNorm):
            setattr(network, name, nn.InstanceNorm2d(child.num_channels, eps=child.eps, affine=True))
        else:
            plain_norms(child)
    return network


def forever(pixels: Tensor, batch_size: int) -> Iterator[Tensor]:
    loader = DataLoader(TensorDataset(pixels.float() / 127.5 - 1), batch_size, shuffle=True, drop_last=True)
    while True:
        for (batch,) in loader:
            yield batch


as_torch_starts = torch.backends.cudnn.flags(enabled=True, allow_tf32=True)
"""On a GPU, convolutions as torch does them by default; acclimate's engine has changed that for the whole process."""


class TextbookCycleGAN:
    """One step: generators on adversarial, cycle and identity losses, then each discriminator."""

    def __init__(self, x: Tensor, y: Tensor, width: int = 32, batch_size: int = 32, device: str = "cpu") -> None:
        size = x.shape[-1]
        self.device = device
        self.G, self.F = (plain_norms(UNet(3, width, size)).to(device) for _ in range(2))
        self.D_X, self.D_Y = (plain_norms(PatchGAN(3, 64, size)).to(device) for _ in range(2))
        generators, discriminators = (
            [parameter for network in networks for parameter in network.parameters()]
            for networks in ((self.G, self.F), (self.D_X, self.D_Y))
        )
        self.generators = torch.optim.Adam(generators, 2e-4, (0.5, 0.999))
        self.discriminators = torch.optim.Adam(discriminators, 2e-4, (0.5, 0.999))
        self.x, self.y = forever(x, batch_size), forever(y, batch_size)

    @as_torch_starts
    def step(self) -> dict[str, float]:
        x, y = next(self.x).to(self.device), next(self.y).to(self.device)
        self.generators.zero_grad()
        fake_y, fake_x = self.G(x), self.F(y)
        cycled_x, cycled_y = self.F(fake_y), self.G(fake_x)
        same_y, same_x = self.G(y), self.F(x)
        on_y, on_x = self.D_Y(fake_y), self.D_X(fake_x)
        adversarial = F.mse_loss(on_y, torch.ones_like(on_y)) + F.mse_loss(on_x, torch.ones_like(on_x))
        cycle = F.l1_loss(cycled_x, x) + F.l1_loss(cycled_y, y)
        identity = F.l1_loss(same_y, y) + F.l1_loss(same_x, x)
        loss = adversarial + 8 * cycle + 0.8 * identity
        loss.backward()
        self.generators.step()

        self.discriminators.zero_grad()
        total = x.new_zeros(())
        for discriminator, real, fake in ((self.D_X, x, fake_x), (self.D_Y, y, fake_y)):
            on_real, on_fake = discriminator(real), discriminator(fake.detach())
            total = total + 0.5 * (
                F.mse_loss(on_real, torch.ones_like(on_real)) + F.mse_loss(on_fake, torch.zeros_like(on_fake))
            )
        total.backward()
        self.discriminators.step()
        return {"generators": loss.item(), "discriminators": total.item()}

    @torch.no_grad()
    @as_torch_starts
    def translate(self, pixels: Tensor) -> Tensor:
        loader = DataLoader(TensorDataset(pixels.float() / 127.5 - 1), 32)
        return torch.cat([self.G(batch.to(self.device)).cpu() for (batch,) in loader])


class TextbookClassifier:
    """One step of Adam on cross entropy."""

    def __init__(self, pixels: Tensor, labels: Tensor, batch_size: int = 256, device: str = "cpu") -> None:
        self.device = device
        self.network = GTAClassifier(3, 10, pixels.shape[-1]).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), 5e-3)
        data = TensorDataset(pixels.float() / 127.5 - 1, labels)
        self.loader = DataLoader(data, batch_size, shuffle=True, drop_last=True)
        self.batches = iter(self.loader)

    @as_torch_starts
    def step(self) -> float:
        try:
            images, labels = next(self.batches)
        except StopIteration:
            self.batches = iter(self.loader)
            images, labels = next(self.batches)
        self.optimizer.zero_grad()
        loss = F.cross_entropy(self.network(images.to(self.device)), labels.to(self.device))
        loss.backward()
        self.optimizer.step()
        return loss.item()


class TextbookSelfTraining:
    """One step of self-training: source labels, and the labels that a running average gives weak target views."""

    def __init__(
        self, source: LabelledImages, target: Images, policy: Policy, batch_size: int = 64, device: str = "cpu"
    ) -> None:
        self.device, self.policy = device, policy
        self.student = build_classifier("conv7", 3, 10, source.pixels.shape[-1]).to(device)
        self.teacher = copy.deepcopy(self.student)
        self.optimizer = torch.optim.AdamW(self.student.parameters(), 2e-3, weight_decay=5e-4)
        self.source, self.target = labelled_forever(source, batch_size), forever(target.pixels, batch_size)
        self.steps = 0

    @as_torch_starts
    def step(self) -> dict[str, float]:
        self.steps += 1
        images, labels = next(self.source)
        x, y, t = images.to(self.device), labels.to(self.device), next(self.target).to(self.device)
        self.teacher.eval()
        with torch.no_grad():
            confidence, chosen = self.teacher(self.policy.weak(t)).softmax(1).max(1)
        self.student.train()
        source = F.cross_entropy(self.student(self.policy.strong(x)), y)
        each = F.cross_entropy(self.student(self.policy.of_target().strong(t)), chosen, reduction="none")
        loss = source + (each * (confidence > 0.9)).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            share = max(0.002, 1 / self.steps)  # at first the mean of all steps
            averages = self.student.state_dict()
            for name, value in self.teacher.state_dict().items():
                if value.is_floating_point():
                    value.lerp_(averages[name], share)
        return {"source": source.item(), "loss": loss.item()}


def labelled_forever(images: LabelledImages, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    data = TensorDataset(images.pixels.float() / 127.5 - 1, images.labels)
    loader = DataLoader(data, batch_size, shuffle=True, drop_last=True)
    while True:
        yield from loader
