"""Training batches in an order that depends on (seed, step) alone, so that a resumed run sees what it would have seen."""

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import DataLoader, Dataset, Sampler


class _Steps(Sampler):
    """The items that one process takes, part by part of each step."""

    def __init__(self, size: int, batch: int, seed: int, start: int, rank: int, world: int, parts: int):
        self.size, self.batch, self.seed, self.start = size, batch, seed, start
        self.rank, self.world, self.parts = rank, world, parts

    def __iter__(self) -> Iterator[list[int]]:
        order: dict[int, list[int]] = {}
        position = self.start * self.batch
        share = self.batch // (self.world * self.parts)
        while True:
            indices = []
            for place in range(position, position + self.batch):
                epoch, i = divmod(place, self.size)
                if epoch not in order:
                    generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
                    order = {epoch: torch.randperm(self.size, generator=generator).tolist()}
                indices.append(order[epoch][i])
            position += self.batch
            mine = indices[self.rank * share * self.parts :]
            for part in range(self.parts):
                yield mine[part * share : (part + 1) * share]


class StepLoader:
    """loader(step) gives the batch of a step, a list of the dataset's items; steps must be asked for one after another.

    Every epoch is a new permutation of the data set. With `parts` > 1 a step's batch comes in so many equal parts, one
    a call; of a team of `world` processes each gets the items of its `rank`.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch: int,
        seed: int,
        workers: int = 0,
        collate: Callable = list,
        rank: int = 0,
        world: int = 1,
        parts: int = 1,
    ):
        self._dataset, self._workers, self._collate, self._iterator = dataset, workers, collate, None
        self._order = {"batch": batch, "seed": seed, "rank": rank, "world": world, "parts": parts}

    def __call__(self, step: int):
        if self._iterator is None:
            loader = DataLoader(
                self._dataset,
                batch_sampler=_Steps(len(self._dataset), start=step, **self._order),
                num_workers=self._workers,
                collate_fn=self._collate,
                pin_memory=self._workers > 0 and torch.cuda.is_available(),
                generator=torch.Generator(),  # of its own, or starting it would draw from the step's random numbers
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
