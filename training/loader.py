"""Training batches in an order that depends on (seed, step) alone, so that a resumed run sees what it would have
seen."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from structures.errors import UserError
from training.processes import batch_share, get_rank, get_world_size


class _Steps(Sampler):
    """The indices that one process takes, part by part of each step, from the step `start` on.

    Of each part the processes take a share each, in their order: all of them together see in a part what one process
    would.
    """

    def __init__(self, size: int, batch: int, seed: int, accumulate: int, start: int):
        self.size, self.batch, self.seed, self.accumulate, self.start = size, batch, seed, accumulate, start
        self.share = batch_share(batch, accumulate)

    def __iter__(self) -> Iterator[list[int]]:
        order: dict[int, torch.Tensor] = {}
        position = self.start * self.batch
        while True:
            indices = []
            for place in range(position, position + self.batch):
                epoch, i = divmod(place, self.size)
                if epoch not in order:
                    generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
                    order = {epoch: torch.randperm(self.size, generator=generator)}
                indices.append(int(order[epoch][i]))
            position += self.batch
            for part in range(self.accumulate):
                first = (part * get_world_size() + get_rank()) * self.share
                yield indices[first : first + self.share]


class StepLoader:
    """loader(step) gives this process's share of a step's batch, a list of the dataset's items; steps must be asked for
    one after another. A UserError of an item is raised here.

    Every epoch is a new permutation of the data set. With accumulate > 1 the share comes in so many equal parts, one a
    call. Raises UserError where the batch can't be split evenly.
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch: int,
        seed: int,
        workers: int = 0,
        accumulate: int = 1,
        collate: Callable = list,
    ):
        batch_share(batch, accumulate)
        self._dataset, self._workers, self._collate, self._iterator = dataset, workers, collate, None
        self._order = {"batch": batch, "seed": seed, "accumulate": accumulate}

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
        items = next(self._iterator)
        for item in items:
            if isinstance(item, UserError):
                raise item
        return items


class Rows(Dataset):
    """A sequence of rows, each turned into an item by `load` when it is asked for."""

    def __init__(self, rows: Sequence, load: Callable):
        self.rows, self.load = rows, load

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int):
        try:
            return self.load(self.rows[index])
        except UserError as error:  # a worker process would wrap it in its traceback
            return error
