#!/usr/bin/env python3
#fabrique name: digits
#fabrique cores: 1
#fabrique memory: 1G
#fabrique walltime: 10m
#fabrique preemptible: yes, signal=USR1, lead=20s
"""Teach a small network to read hand-drawn digits, with NumPy alone.

The digits are drawn here: strokes, bent, turned and scaled at random, on 16 by 16 pixels, with noise; no two are
alike. A network with two hidden layers learns them by Adam, and is judged by digits it has never seen.

    train.py            about a minute on one core
    train.py --quick    a few seconds; so does QUICK=1 in the environment

USR1 asks for a checkpoint: the network is saved at the end of the batch, and training ends. With a checkpoint in the
current folder, training goes on from there.
"""

import argparse
import os
import signal
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

SIDE, CLASSES = 16, 10
CHECKPOINT = Path("digits.npz")
# Strokes of each digit as points (x, y) in the unit square, y downwards
STROKES = {
    0: [[(0.5, 0.1), (0.2, 0.3), (0.2, 0.7), (0.5, 0.9), (0.8, 0.7), (0.8, 0.3), (0.5, 0.1)]],
    1: [[(0.3, 0.3), (0.5, 0.1), (0.5, 0.9)]],
    2: [[(0.2, 0.3), (0.5, 0.1), (0.8, 0.3), (0.2, 0.9), (0.8, 0.9)]],
    3: [[(0.2, 0.15), (0.7, 0.15), (0.45, 0.45), (0.8, 0.65), (0.5, 0.9), (0.2, 0.8)]],
    4: [[(0.6, 0.9), (0.6, 0.1), (0.2, 0.6), (0.85, 0.6)]],
    5: [[(0.8, 0.1), (0.3, 0.1), (0.25, 0.45), (0.7, 0.5), (0.7, 0.8), (0.2, 0.9)]],
    6: [[(0.7, 0.1), (0.3, 0.45), (0.25, 0.75), (0.5, 0.9), (0.75, 0.7), (0.5, 0.5), (0.28, 0.65)]],
    7: [[(0.2, 0.1), (0.8, 0.1), (0.4, 0.9)]],
    8: [[(0.5, 0.1), (0.25, 0.3), (0.75, 0.7), (0.5, 0.9), (0.25, 0.7), (0.75, 0.3), (0.5, 0.1)]],
    9: [[(0.72, 0.35), (0.5, 0.5), (0.25, 0.3), (0.5, 0.1), (0.72, 0.35), (0.6, 0.9)]],
}


def ink(digit):
    """Points along the strokes of a digit, 40 in all."""
    points = np.concatenate([np.array(stroke) for stroke in STROKES[digit]])
    steps = np.linspace(0, len(points) - 1, 40)
    low = np.minimum(steps.astype(int), len(points) - 2)
    part = (steps - low)[:, None]
    return points[low] * (1 - part) + points[low + 1] * part


INK = np.stack([ink(digit) for digit in range(CLASSES)])


def draw(count, random):
    """`count` digits: images in [0, 1] with noise, one row each, and what they show."""
    labels = random.integers(0, CLASSES, count)
    points = INK[labels] - 0.5
    bend = random.normal(0, 0.05, (count, 2, 3))  # a wave along the stroke: no hand draws a straight line
    along = np.linspace(0, np.pi, points.shape[1])
    waves = np.stack([np.sin(along), np.sin(2 * along), np.cos(along)])
    points = points + np.einsum("nck,kp->npc", bend, waves)
    turn, size, lean = random.normal(0, 0.25, count), random.normal(1, 0.12, (count, 2)), random.normal(0, 0.2, count)
    matrix = np.empty((count, 2, 2))
    matrix[:, 0, 0], matrix[:, 0, 1] = np.cos(turn) * size[:, 0], -np.sin(turn) + lean
    matrix[:, 1, 0], matrix[:, 1, 1] = np.sin(turn), np.cos(turn) * size[:, 1]
    points = np.einsum("nij,npj->npi", matrix, points) + 0.5 + random.normal(0, 0.06, (count, 1, 2))
    grid = (np.arange(SIDE) + 0.5) / SIDE
    across = np.exp(-(((points[:, :, 0, None] - grid) / 0.05) ** 2))
    down = np.exp(-(((points[:, :, 1, None] - grid) / 0.05) ** 2))
    images = np.minimum(np.einsum("npy,npx->nyx", down, across), 1).reshape(count, -1)
    return (images + random.normal(0, 0.25, images.shape)).astype(np.float32), labels


class Network:
    """Two hidden layers, softmax, cross entropy; Adam (Kingma and Ba, 2015)."""

    def __init__(self, sizes, random):
        pairs = list(pairwise(sizes))
        self.weights = [random.normal(0, (2 / n) ** 0.5, (n, m)).astype(np.float32) for n, m in pairs]
        self.biases = [np.zeros(m, np.float32) for _, m in pairs]
        self.moments = [[np.zeros_like(p), np.zeros_like(p)] for p in self.parameters]
        self.steps = 0

    @property
    def parameters(self):
        return [*self.weights, *self.biases]

    def layers(self, images):
        values = [images]
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            raw = values[-1] @ weight + bias
            values.append(np.maximum(raw, 0) if number < len(self.weights) - 1 else raw)
        return values

    def learn(self, images, labels, rate):
        """One step on a batch; its mean loss."""
        values = self.layers(images)
        scores = values[-1] - values[-1].max(axis=1, keepdims=True)
        chances = np.exp(scores)
        chances /= chances.sum(axis=1, keepdims=True)
        loss = -np.log(chances[np.arange(len(labels)), labels] + 1e-12).mean()
        error = chances
        error[np.arange(len(labels)), labels] -= 1
        error /= len(labels)
        weights, biases = [], []
        for number in reversed(range(len(self.weights))):
            weights.insert(0, values[number].T @ error)
            biases.insert(0, error.sum(axis=0))
            error = (error @ self.weights[number].T) * (values[number] > 0)
        self.adam([*weights, *biases], rate)
        return float(loss)

    def adam(self, gradients, rate):
        self.steps += 1
        for parameter, gradient, moment in zip(self.parameters, gradients, self.moments, strict=True):
            moment[0] += 0.1 * (gradient - moment[0])
            moment[1] += 0.001 * (gradient**2 - moment[1])
            first, second = moment[0] / (1 - 0.9**self.steps), moment[1] / (1 - 0.999**self.steps)
            parameter -= rate * first / (np.sqrt(second) + 1e-8)

    def right(self, images, labels):
        return float((self.layers(images)[-1].argmax(axis=1) == labels).mean())

    def save(self, epoch):
        """Whole or not at all: a checkpoint cut short would be worse than none."""
        arrays = {f"p{i}": p for i, p in enumerate(self.parameters)}
        arrays |= {f"m{i}{j}": m for i, pair in enumerate(self.moments) for j, m in enumerate(pair)}
        with open("digits.part", "wb") as file:
            np.savez(file, epoch=epoch, steps=self.steps, **arrays)
            file.flush()
            os.fsync(file.fileno())
        Path("digits.part").replace(CHECKPOINT)

    def load(self):
        """The epoch to go on with."""
        with np.load(CHECKPOINT) as saved:
            for i, parameter in enumerate(self.parameters):
                parameter[...] = saved[f"p{i}"]
                for j in range(2):
                    self.moments[i][j][...] = saved[f"m{i}{j}"]
            self.steps = int(saved["steps"])
            return int(saved["epoch"])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", default=os.environ.get("QUICK") == "1")
    quick = parser.parse_args().quick
    epochs, images_each = (4, 4_000) if quick else (30, 24_000)
    asked = []
    signal.signal(signal.SIGUSR1, lambda *_: asked.append(True))
    random = np.random.default_rng(2026)
    network = Network([SIDE * SIDE, 192, 96, CLASSES], random)
    first = network.load() if CHECKPOINT.exists() else 0
    test_images, test_labels = draw(4_000, np.random.default_rng(7))
    print(f"{sum(p.size for p in network.parameters)} parameters, {images_each} fresh digits an epoch", flush=True)
    began = time.monotonic()
    for epoch in range(first, epochs):
        rate, losses = 0.002 * 0.5 ** (3 * epoch / epochs), []
        images, labels = draw(images_each, np.random.default_rng([2026, epoch]))
        for start in range(0, images_each, 100):
            losses.append(network.learn(images[start : start + 100], labels[start : start + 100], rate))
            if asked:
                network.save(epoch)
                print(f"USR1: saved in epoch {epoch + 1}, {CHECKPOINT}", flush=True)
                return 0
        network.save(epoch + 1)
        right, seconds = network.right(test_images, test_labels), time.monotonic() - began
        said = f"epoch {epoch + 1:2}/{epochs}  loss {np.mean(losses):.4f}  right {right:.1%}  {seconds:.0f} s"
        print(said, flush=True)
    print(f"saved: {CHECKPOINT} ({CHECKPOINT.stat().st_size} bytes)", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
