"""python -m store: what is in the store, what is broken, what nobody uses, which rows a parameter changed."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from schemas.tables import TABLES
from store import locks
from store.blobs import Blobs
from store.check import blob_files, check_results, find_broken, read_memos, remove, runs_in, show_progress
from store.diff import compare_tables
from store.garbage import collect_garbage
from store.manifest import Manifest
from structures.errors import UserError

MOVED = ("scores", "tables")  # what is measured is no business of the store


def list_runs(args) -> None:
    """Every run's stages: shards, rows and bytes."""
    for run in runs_in(args.data):
        print(run.name)
        stages: dict[str, _Sizes] = {}
        for file in show_progress(run.manifest_files(), f"reading {run.name}", "manifest"):
            manifest = run.read_manifest(file.parent.name, file.stem)
            if manifest is not None:
                stages.setdefault(manifest.stage, _Sizes()).add(manifest)
        for stage, sizes in stages.items():
            tables = ", ".join(f"{name} {rows:,}" for name, rows in sizes.rows.items()) or "no table"
            print(
                f"  {stage:18} {sizes.shards:3} shards  {sizes.bytes:14,} bytes  {tables}; rejects {sizes.rejected:,}"
            )


class _Sizes:
    """What the shards of a stage hold together."""

    def __init__(self):
        self.shards, self.bytes, self.rejected = 0, 0, 0
        self.rows: Counter[str] = Counter()  # by table

    def add(self, manifest: Manifest) -> None:
        self.shards += 1
        self.bytes += sum(output.bytes for output in manifest.outputs)
        self.rejected += sum(manifest.counts["rejects"].values())
        self.rows.update(manifest.counts["rows_out"])


def show_stage(args) -> None:
    """What a stage wrote, of what, with which parameters; and the earlier results that the memo still holds."""
    for run in runs_in(args.data):
        for manifest in run.manifests():
            if manifest.stage == args.stage:
                print(f"{run.name} {manifest.shard}: action {manifest.key[:12]}")
                print(f"  params  {json.dumps(manifest.params, sort_keys=True)}")
                print(f"  counts  {json.dumps(manifest.counts, sort_keys=True)}")
                for output in manifest.outputs:
                    print(f"  {output.path}  {output.digest[:12]}  {output.bytes:,} bytes  {output.rows} rows")
    print("in the memo:")
    for manifest in read_memos(args.data).values():
        if manifest.stage == args.stage:
            print(f"  {manifest.key[:12]}  {json.dumps(manifest.params, sort_keys=True)}")


def verify(args) -> None:
    """Check every blob against the digest that names it, and every manifest, memo and link. --repair removes what is broken
    and what was made of it, and puts links right; snakemake then makes it again."""
    files = blob_files(args.data)
    broken = find_broken(files)
    found, gone = check_results(args.data, runs_in(args.data)), []
    if broken or found.lines():  # again, while nobody is about to change it
        with _alone(args.data, needed=args.repair):
            found = check_results(args.data, runs_in(args.data))
            found.broken = find_broken(broken)
            gone = remove(args.data, found) if args.repair else []
    for line in found.lines():
        print(line)
    for manifest in gone:
        print(f"to be made again: {manifest.parent.parent.parent.name} {manifest.parent.name} {manifest.stem}")
    faults = len(found.lines())
    if faults and not args.repair:
        raise UserError(
            f"{faults} files are broken, missing or damaged; --repair removes them and what was made of them, then snakemake "
            "makes it again"
        )
    if found.in_the_way:
        raise UserError(f"{len(found.in_the_way)} files lie in the places of results: move them elsewhere")
    print(f"{len(files)} blobs checked, {faults} broken or missing")


def gc(args) -> None:
    """Remove blobs and memos that no run uses, and what killed stages left behind. --keep-memo spares the memos;
    checkpoints from which a killed training goes on are spared unless --checkpoints says otherwise. What runs meanwhile
    is left alone."""
    alone = nullcontext() if args.dry_run else _alone(args.data)
    freed = collect_garbage(
        args.data, alone, keep_memo=args.keep_memo, checkpoints=args.checkpoints, dry_run=args.dry_run
    )
    print(f"{freed:,} bytes {'would be ' if args.dry_run else ''}freed")


@contextmanager
def _alone(data: Path, needed: bool = True) -> Iterator[None]:
    """Hold off those who write to the store. needed: whether it is an error that the data folder can't be locked; who only
    reads may see then what is just changing. Raises UserError."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locks.held(Blobs(data).lock))
        except OSError as error:
            if needed:
                raise UserError(f"{data} can't be locked ({error}), so nobody knows what is in use there") from error
        yield


def diff(args) -> None:
    """Rows added, removed and changed between two actions (keys as `show` prints them, their first letters do)."""
    blobs = Blobs(args.data)
    actions = {manifest.key: manifest for manifest in read_memos(args.data).values()}
    sides = []
    for prefix in (args.a, args.b):
        matching = [key for key in actions if key.startswith(prefix)]
        if len(matching) != 1:
            raise UserError(f"{prefix} names {len(matching)} actions; `python -m store show STAGE` lists them")
        sides.append(actions[matching[0]])
    before, after = sides
    if before.stage != after.stage:
        raise UserError(f"{args.a} is of {before.stage}, {args.b} of {after.stage}: only one stage's results compare")
    for name in sorted(before.params.keys() | after.params.keys()):
        if before.params.get(name) != after.params.get(name):
            print(f"{name}: {before.params.get(name)!r} -> {after.params.get(name)!r}")
    for table in sorted({o.artifact for o in before.outputs if o.artifact in TABLES and "/_" not in o.path}):
        files = [
            [blobs.path(o.digest, o.suffix) for o in side.outputs if o.artifact == table and "/_" not in o.path]
            for side in sides
        ]
        difference = compare_tables(table, *files)
        added, removed, changed = difference.added, difference.removed, difference.changed
        print(f"{table}: {difference.same} same, {len(changed)} changed, {len(added)} added, {len(removed)} removed")
        for key, columns in changed[: args.most]:
            print(f"  changed {' '.join(map(str, key))}: {', '.join(columns)}")
        for word, keys in (("added", added), ("removed", removed)):
            for key in keys[: args.most]:
                print(f"  {word} {' '.join(map(str, key))}")


def _say_where(args) -> None:
    raise UserError(f"python -m store knows the store alone: it is `python -m pipeline {args.command}`")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m store", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="default %(default)s")
    commands = parser.add_subparsers(required=True, dest="command", metavar="command")

    def command(name: str, function) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        added.set_defaults(function=function)
        return added

    command("ls", list_runs)
    command("show", show_stage).add_argument("stage")
    command("verify", verify).add_argument("--repair", action="store_true")
    cleaning = command("gc", gc)
    cleaning.add_argument("--dry-run", action="store_true")
    cleaning.add_argument("--keep-memo", action="store_true")
    cleaning.add_argument("--checkpoints", action="store_true")
    comparing = command("diff", diff)
    comparing.add_argument("a")
    comparing.add_argument("b")
    comparing.add_argument("--most", type=int, default=10, help="rows to list of each kind (default %(default)s)")
    for name in MOVED:
        commands.add_parser(name, add_help=False).set_defaults(function=_say_where)

    args, unknown = parser.parse_known_args()
    if unknown and args.function is not _say_where:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        if args.function is not _say_where and not args.data.is_dir():
            raise UserError(f"{args.data} is no folder: --data names the one with the store and the runs")
        args.function(args)
    except (UserError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
