"""What a function finds in every caption of a run, in partitions that Dask works on: on this machine's cores, or on a
cluster whose scheduler is named. Memory is bounded by a few partitions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pandas as pd
import pyarrow as pa

from pipeline.dask_cluster import connected
from pipeline.job import Job
from structures.progress import progress

GROUPS = 2  # row groups of a partition
_TEXTS = ("image_id", "caption_id", "text", "category", "surface")
_MENTIONS = pa.schema(
    [(name, pa.string()) for name in _TEXTS] + [(name, pa.int32()) for name in ("start", "end", "count")]
)


def find_in_captions(job: Job, find: Callable, *, scheduler: str, description: str) -> Iterator[pa.Table]:
    """For each partition of captions, in order, a table of what find(text) returned.

    find returns a list of models.grounding.nouns.Mention; the table has their fields, and image_id, caption_id and
    text. A caption in which nothing was found has one row whose `start` is -1 and whose category is empty. scheduler:
    the address of a Dask cluster, empty for this machine. Raises UserError where none answers there, or one that is not
    of this code and these versions.
    """
    import dask
    import dask.dataframe as dd

    files = [str(path) for path in job.paths("captions") if job.count("captions")]
    if not files:
        return
    rows = dd.read_parquet(files, columns=["image_id", "caption_id", "text"], split_row_groups=GROUPS)
    mentions = dask.delayed(_mentions, pure=True)
    shared = dask.delayed(find)
    tasks = [mentions(part, shared) for part in rows.to_delayed()]
    modules = (__name__, find.__module__)
    with _workers(scheduler, modules, job.threads, len(tasks)) as (window, options):
        bar = progress(range(0, len(tasks), window), description=description, unit="partition group")
        for first in bar:
            yield from dask.compute(*tasks[first : first + window], **options)


@contextmanager
def _workers(scheduler: str, modules: tuple[str, ...], threads: int, tasks: int):
    """How many partitions are under way together, and where dask.compute takes them. modules: whose code they run."""
    if scheduler:
        with connected(scheduler, *modules) as client:
            yield 4 * max(1, sum(client.nthreads().values())), {"scheduler": client}
    elif tasks == 1 or threads == 1:
        yield 1, {"scheduler": "synchronous"}
    else:
        yield 2 * threads, {"scheduler": "processes", "num_workers": threads}


def _mentions(captions: pd.DataFrame, find: Callable) -> pa.Table:
    rows = []
    for caption in zip(captions.image_id, captions.caption_id, captions.text):
        mentions = [(m.category, m.surface, m.start, m.end, m.count) for m in find(caption[2])]
        rows += [caption + mention for mention in mentions or [("", "", -1, -1, 0)]]
    columns = zip(*rows) if rows else [()] * len(_MENTIONS)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, _MENTIONS)], schema=_MENTIONS)
