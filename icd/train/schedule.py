"""What a training will do, in numbers: steps, learning rates, warm-up. Knows neither files nor the network."""


class Schedule:
    """Steps and learning rates of a training.

    Parameters
    ----------
    options : Options
        `icd.cli.RUN`.
    num_names : int
        Length of the list.

    Attributes
    ----------
    images : int
        Images an epoch.
    batch : int
        Images a step, over all devices, machines and accumulated batches.
    batches, epochs, steps : int
        Steps an epoch (the last incomplete batch is dropped), epochs, steps in all.
    warm_up_steps : int
        Steps over which the gradient of the top-down branch is faded in: two epochs.
    log_every : int
        Steps between log lines; by default a twentieth of an epoch, at least 5 unless an epoch has fewer.
    """

    def __init__(self, options, num_names):
        self.images = options.num_sample or num_names
        self.batch = options.batch_size * options.accumulate
        self.batches, self.epochs = self.images // self.batch, options.num_epoch
        self.steps = self.batches * self.epochs
        self.warm_up_steps = 2 * self.images // self.batch
        self.log_every = options.log_frequency or min(max(self.images // (self.batch * 20), 5), max(self.batches, 1))
        self._rate, self._ramp = options.learning_rate, options.ramp_epochs * self.batches

    def learning_rate(self, epoch, batch=0):
        """Learning rate of a step: constant within an epoch, falling as (1 - epoch / epochs)^0.9, after a ramp.

        Parameters
        ----------
        epoch, batch : int
            From 0.

        Returns
        -------
        float
        """
        rate = self._rate * (1 - epoch / self.epochs) ** .9
        done = epoch * self.batches + batch
        return rate * (.1 + .9 * done / self._ramp) if done < self._ramp else rate

    def __str__(self):
        """The whole schedule, a line an epoch."""
        lines = ['%d images an epoch in %d batches of %d, %d epochs, %d steps; warm-up over %d steps; a log line every '
                 '%d' % (self.images, self.batches, self.batch, self.epochs, self.steps, self.warm_up_steps,
                         self.log_every)]
        for epoch in range(self.epochs):
            lines.append('epoch %2d: steps %d to %d, learning rate %.4g' % (
                epoch, epoch * self.batches, (epoch + 1) * self.batches - 1, self.learning_rate(epoch)))
        return '\n'.join(lines)
