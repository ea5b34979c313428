"""One training step of a VAE in float32: bits under logits, ReLU, Adam, one particle.

Ours is an epoch of `VAE.fit`, by the history, over its steps. Everyone trains the same network from the same
parameters, and each first epoch's loss is held against ours. A time contains what an epoch contains: the order of the
rows is drawn, batches are gathered, the loss is summed. NumPy's product of 1024³ is timed in the same rounds.
"""

import statistics
import time
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from harness import Case, multiplying
from training_peers import in_jax, in_numpy, in_torch

import elbokit as ek

# An epoch is many calls, so a block is this many times as long as a kernel's.
LONGER = 6


class Net(NamedTuple):
    """A network, its batch, the steps of an epoch, and the ratios that the project asks for."""

    features: int
    hidden: tuple[int, ...]
    latent: int
    batch: int
    steps: int
    targets: dict[str, float]

    def __str__(self):
        return f"{'-'.join(map(str, (self.features, *self.hidden, self.latent)))} B{self.batch}"

    @property
    def flops(self):
        """Of the matrix products of a step: forward, and two for the gradient but for that of the rows themselves."""
        widths = (self.features, *self.hidden)
        halves = sum(a * b for a, b in pairwise(widths))
        weights = 2 * halves + 3 * self.hidden[-1] * self.latent
        return 2 * self.batch * (3 * weights - self.features * self.hidden[0])


NETS = (
    Net(30, (64,), 8, 64, 40, {"PyTorch": 15.0, "JAX scan": 4.0}),
    Net(64, (256,), 16, 128, 20, {"PyTorch": 6.0, "JAX scan": 2.0}),
    Net(784, (400,), 20, 128, 10, {"best": 1.3}),
    Net(784, (512, 256), 32, 512, 4, {"best": 1.3}),
)


def cases(peers):
    for net in NETS:
        yield training(peers, net)


def training(peers, net):
    rows = _rows(net)
    vae = ek.VAE(net.latent, hidden=net.hidden, likelihood=ek.likelihood.Bernoulli())

    def fit(epochs):
        return vae.fit(rows, epochs=epochs, batch_size=net.batch, validation=0.0, progress=False)

    fit(1)
    parameters = vae.parameters()
    seconds = statistics.median(fit(5).seconds[1:])
    loss = -fit(2).elbo[1]

    def ours(block):
        epochs = max(1, round(LONGER * block / seconds))
        # The first epoch makes the buffers.
        return statistics.fmean(fit(1 + epochs).seconds[1:]) / net.steps

    ways = in_numpy(parameters, rows, net.batch)
    if peers.jax is not None:
        ways |= in_jax(peers.jax, parameters, rows, net.batch)
    if peers.torch is not None:
        ways |= in_torch(peers.torch, parameters, rows, net.batch, compiled=peers.compile_torch)
    return Case(
        "training step",
        str(net),
        ours,
        {name: _clocked(name, epoch, net.steps, loss) for name, epoch in ways.items()},
        beside={"sgemm": _sgemm()},
        flops=net.flops,
        targets=net.targets,
        own_clock=True,
    )


def _rows(net):
    """Bits with structure to learn: a random linear map of five latents, thresholded."""
    z = ek.random.normal((net.batch * net.steps, 5), key=1)
    return (z @ ek.random.normal((5, net.features), key=2) > 1.5).astype(np.float32)


def _clocked(name, epoch, steps, loss):
    """A function that trains for about a block and returns the seconds of a step."""
    seconds = None

    def train(block):
        nonlocal seconds
        if seconds is None:
            first = epoch()
            if not abs(first / loss - 1) < 0.05:
                raise AssertionError(f"{name} trains something else: loss {first:.2f}, ours {loss:.2f}")
            seconds = _timed(epoch, 1)
        epochs = max(1, round(LONGER * block / seconds))
        return _timed(epoch, epochs) / (epochs * steps)

    return train


def _timed(epoch, epochs):
    start = time.perf_counter()
    for _ in range(epochs):
        epoch()
    return time.perf_counter() - start


def _sgemm():
    product = multiplying()["sgemm"]

    def timed(_):
        # Once to wake the threads, twice to time.
        product()
        return _timed(product, 2) / 2

    return timed
