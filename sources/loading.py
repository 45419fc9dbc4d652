"""Training batches in an order that depends on (seed, step) alone, so that a resumed run sees what it would have seen."""

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import DataLoader, Dataset, Sampler


class _Steps(Sampler):
    def __init__(self, size: int, batch: int, seed: int, start: int):
        self.size, self.batch, self.seed, self.start = size, batch, seed, start

    def __iter__(self) -> Iterator[list[int]]:
        order: dict[int, list[int]] = {}
        position = self.start * self.batch
        while True:
            indices = []
            for place in range(position, position + self.batch):
                epoch, i = divmod(place, self.size)
                if epoch not in order:
                    generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
                    order = {epoch: torch.randperm(self.size, generator=generator).tolist()}
                indices.append(order[epoch][i])
            position += self.batch
            yield indices


class StepLoader:
    """loader(step) gives the batch of a step, a list of the dataset's items; steps must be asked for one after another.

    Every epoch is a new permutation of the data set.
    """

    def __init__(self, dataset: Dataset, *, batch: int, seed: int, workers: int = 0, collate: Callable = list):
        self._dataset, self._batch, self._seed = dataset, batch, seed
        self._workers, self._collate, self._iterator = workers, collate, None

    def __call__(self, step: int):
        if self._iterator is None:
            loader = DataLoader(
                self._dataset,
                batch_sampler=_Steps(len(self._dataset), self._batch, self._seed, step),
                num_workers=self._workers,
                collate_fn=self._collate,
            )
            self._iterator = iter(loader)
        return next(self._iterator)


class Rows(Dataset):
    """A list of rows, each turned into an item by `load` when it is asked for."""

    def __init__(self, rows: list, load: Callable):
        self.rows, self.load = rows, load

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int):
        return self.load(self.rows[index])
