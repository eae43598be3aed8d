"""What a training will do, in numbers: steps and learning rates. Knows neither files nor the network."""
from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """Steps and learning rates of a training.

    Parameters
    ----------
    images : int
        Images an epoch.
    batch : int
        Images a step, over all devices, nodes and accumulated batches.
    epochs : int
    rate : float
        Learning rate of the first epoch.
    ramp_epochs : float
        Epochs over which the learning rate rises linearly from a tenth.
    log_frequency : int
        Steps between log lines; 0: a twentieth of an epoch, at least 5 unless an epoch has fewer.
    per_step : bool
        The learning rate falls with every step, not every epoch.
    """

    images: int
    batch: int
    epochs: int
    rate: float
    ramp_epochs: float = 0.
    log_frequency: int = 0
    per_step: bool = False

    @property
    def batches(self) -> int:
        """Steps an epoch; the last incomplete batch is dropped."""
        return self.images // self.batch

    @property
    def steps(self) -> int:
        """Steps in all."""
        return self.batches * self.epochs

    @property
    def log_every(self) -> int:
        """Steps between log lines."""
        return self.log_frequency or min(max(self.images // (self.batch * 20), 5), max(self.batches, 1))

    def is_logged(self, batch: int) -> bool:
        """Whether a batch, from 0, has a log line."""
        return (batch + 1) % self.log_every == 0

    def learning_rate(self, epoch: int, batch: int = 0) -> float:
        """Learning rate of a step, both from 0: constant in an epoch, falling as (1 - epoch / epochs)^0.9."""
        done, ramp = epoch * self.batches + batch, self.ramp_epochs * self.batches
        rate = self.rate * (1 - (done / self.steps if self.per_step else epoch / self.epochs)) ** .9
        return rate * (.1 + .9 * done / ramp) if done < ramp else rate

    def __str__(self):
        """The whole schedule, a line an epoch."""
        lines = [f'{self.images} images an epoch in {self.batches} batches of {self.batch}, {self.epochs} epochs, '
                 f'{self.steps} steps; a log line every {self.log_every}']
        for epoch in range(self.epochs):
            lines.append(f'epoch {epoch:2d}: steps {epoch * self.batches} to {(epoch + 1) * self.batches - 1}, '
                         f'learning rate {self.learning_rate(epoch):.4g}')
        return '\n'.join(lines)
