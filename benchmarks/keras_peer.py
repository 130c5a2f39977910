"""The other peer: the same CycleGAN in Keras 3 on its PyTorch backend, trained as Keras users do, by train_on_batch.

Needs ``pip install keras``; set ``KERAS_BACKEND=torch`` before the import (this module does).
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "torch")

import keras
import numpy as np
from keras import layers
from torch import Tensor

keras.config.set_image_data_format("channels_first")
INITIAL = keras.initializers.RandomNormal(0.0, 0.02)


def convolution(x: keras.KerasTensor, channels: int, stride: int = 1, *, norm: bool = True) -> keras.KerasTensor:
    x = layers.Conv2D(channels, 3, stride, "same", kernel_initializer=INITIAL)(x)
    return layers.LeakyReLU(0.2)(instance_norm(x) if norm else x)


def instance_norm(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.GroupNormalization(-1, axis=1)(x)


def unet(size: int, width: int) -> keras.Model:
    image = x = keras.Input((3, size, size))
    skips = []
    for level, channels in enumerate((width, 2 * width, 4 * width)):
        first = level == 0
        x = convolution(x, channels, 1 if first else 2, norm=level == 2)
        for _ in range(1 if first else 2):
            x = convolution(x, channels, norm=not first)
        skips.append(x)
    for stride in (2, 1, 1):
        x = layers.Conv2D(8 * width, 3, stride, "same", activation="relu", kernel_initializer=INITIAL)(x)
    for level, channels in enumerate((4 * width, 2 * width, width)):
        x = instance_norm(layers.Conv2DTranspose(channels, 3, 2, "same", kernel_initializer=INITIAL)(x))
        x = layers.Dropout(0.5)(x) if level == 0 else x
        x = layers.ReLU()(layers.Concatenate(axis=1)([x, skips.pop()]))
        x = convolution(convolution(x, channels), channels)
    return keras.Model(image, layers.Conv2D(3, 3, 1, "same", activation="tanh", kernel_initializer=INITIAL)(x))


def patchgan(size: int, width: int = 64) -> keras.Model:
    image = keras.Input((3, size, size))
    x = convolution(image, width, 2, norm=False)
    for stride in (2, 1):
        x = layers.Conv2D(2 * width, 3, stride, "same", kernel_initializer=INITIAL)(x)
        x = instance_norm(layers.LeakyReLU(0.2)(x))
    x = layers.Conv2D(1, 3, 1, "same", activation="sigmoid", kernel_initializer=INITIAL)(x)
    model = keras.Model(image, x)
    model.compile(keras.optimizers.Adam(2e-4, 0.5), "mse", loss_weights=[0.5])
    return model


class KerasCycleGAN:
    """One step: each discriminator on generated and real images, then both generators through a combined model."""

    def __init__(self, x: Tensor, y: Tensor, width: int = 32, batch_size: int = 32) -> None:
        size = x.shape[-1]
        self.x, self.y = (pixels.numpy().astype("float32") / 127.5 - 1 for pixels in (x, y))
        self.random, self.batch_size = np.random.default_rng(0), batch_size
        self.G, self.F = unet(size, width), unet(size, width)
        self.D_X, self.D_Y = patchgan(size), patchgan(size)
        self.combined = self._combine(size)
        self.real, self.fake = (np.full((batch_size, *self.D_X.output_shape[1:]), value, "float32") for value in (1, 0))

    def _discriminators_learn(self, learn: bool) -> None:
        self.D_X.trainable = self.D_Y.trainable = learn

    def _combine(self, size: int) -> keras.Model:
        x, y = keras.Input((3, size, size)), keras.Input((3, size, size))
        fake_y, fake_x = self.G(x), self.F(y)
        outputs = [self.D_Y(fake_y), self.D_X(fake_x), self.F(fake_y), self.G(fake_x), self.F(x), self.G(y)]
        combined = keras.Model([x, y], outputs)
        combined.compile(
            keras.optimizers.Adam(2e-4, 0.5), ["mse"] * 2 + ["mae"] * 4, loss_weights=[1, 1, 8, 8, 0.8, 0.8]
        )
        return combined

    def step(self) -> None:
        x, y = (pixels[self.random.integers(0, len(pixels), self.batch_size)] for pixels in (self.x, self.y))
        fake_y, fake_x = self.G.predict_on_batch(x), self.F.predict_on_batch(y)
        self._discriminators_learn(True)
        for discriminator, real, fake in ((self.D_X, x, fake_x), (self.D_Y, y, fake_y)):
            discriminator.train_on_batch(real, self.real)
            discriminator.train_on_batch(fake, self.fake)
        self._discriminators_learn(False)
        self.combined.train_on_batch([x, y], [self.real, self.real, x, y, x, y])
