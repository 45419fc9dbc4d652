"""python -m store: what is in the store, what is broken, what nobody uses, which rows a parameter changed."""

import argparse
import json
import shutil
import sys
from pathlib import Path

from schemas.tables import TABLES
from store.blobs import Blobs, file_digest
from store.diff import compare_tables
from store.manifest import Manifest, Run
from structures.errors import UserError
from structures.progress import progress

MOVED = ("scores", "tables")  # what is measured is no business of the store


def _runs(data: Path) -> list[Run]:
    return [Run(data, folder.name) for folder in sorted((data / "runs").glob("*")) if folder.is_dir()]


def _actions(data: Path) -> dict[str, Manifest]:
    """Every memo by its key; damaged ones are passed over, for they are never used either."""
    actions = {}
    for file in sorted((data / "actions").glob("*.json")):
        try:
            actions[file.stem] = Manifest.from_json(file.read_text(encoding="utf-8"))
        except (ValueError, TypeError):
            print(f"{file} is damaged and will be made again", file=sys.stderr)
    return actions


def _blob_files(data: Path) -> list[Path]:
    return sorted(file for file in (data / "store").glob("??/*") if file.is_file())


def list_runs(args) -> None:
    """Every run's stages: shards, rows and bytes."""
    for run in _runs(args.data):
        print(run.name)
        stages: dict[str, list[Manifest]] = {}
        for manifest in run.manifests():
            stages.setdefault(manifest.stage, []).append(manifest)
        for stage, manifests in stages.items():
            size = sum(output.bytes for manifest in manifests for output in manifest.outputs)
            rows_out: dict[str, int] = {}
            for manifest in manifests:
                for name, rows in manifest.counts["rows_out"].items():
                    rows_out[name] = rows_out.get(name, 0) + rows
            rejected = sum(sum(manifest.counts["rejects"].values()) for manifest in manifests)
            tables = ", ".join(f"{name} {rows:,}" for name, rows in rows_out.items()) or "no table"
            print(f"  {stage:18} {len(manifests):3} shards  {size:14,} bytes  {tables}; rejects {rejected:,}")


def show_stage(args) -> None:
    """What a stage wrote, of what, with which parameters; and the earlier results that the memo still holds."""
    for run in _runs(args.data):
        for manifest in run.manifests():
            if manifest.stage == args.stage:
                print(f"{run.name} {manifest.shard}: action {manifest.key[:12]}")
                print(f"  params  {json.dumps(manifest.params, sort_keys=True)}")
                print(f"  counts  {json.dumps(manifest.counts, sort_keys=True)}")
                for output in manifest.outputs:
                    print(f"  {output.path}  {output.digest[:12]}  {output.bytes:,} bytes  {output.rows} rows")
    print("in the memo:")
    for key, manifest in _actions(args.data).items():
        if manifest.stage == args.stage:
            print(f"  {key[:12]}  {json.dumps(manifest.params, sort_keys=True)}")


def verify(args) -> None:
    """Check every blob against the digest that names it; --repair removes broken ones, which are then made again."""
    faults = 0
    files = _blob_files(args.data)
    for file in progress(files, description="verifying", unit="blob", total=len(files)):
        if file_digest(file) != file.stem:
            faults += 1
            print(f"broken: {file}")
            if args.repair:
                file.unlink()
    for run in _runs(args.data):
        blobs = Blobs(args.data)
        for manifest in run.manifests():
            lost = [o for o in manifest.outputs if not blobs.has(o.digest, o.suffix, o.bytes)]
            for output in lost:
                print(f"missing: {run.name}/{output.path} ({output.digest[:12]})")
            if lost and args.repair:
                run.manifest_path(manifest.stage, manifest.shard).unlink()
            faults += len(lost)
    if faults and not args.repair:
        raise UserError(f"{faults} blobs are broken or missing; --repair removes them, then snakemake makes them again")
    print(f"{len(files)} blobs checked, {faults} broken or missing")


def collect_garbage(args) -> None:
    """Remove blobs and memos that no run uses, and what killed stages left behind. --keep-memo spares the memos."""
    used = {output.digest for run in _runs(args.data) for manifest in run.manifests() for output in manifest.outputs}
    actions = _actions(args.data)
    if args.keep_memo:
        used |= {output.digest for manifest in actions.values() for output in manifest.outputs}
    freed = 0
    for file in _blob_files(args.data):
        if file.stem not in used:
            freed += file.stat().st_size
            if not args.dry_run:
                file.unlink()
    for key, manifest in actions.items():
        if not args.dry_run and any(output.digest not in used for output in manifest.outputs):
            (args.data / "actions" / f"{key}.json").unlink()
    for folder in (args.data / "store" / "drafts", args.data / "scratch"):
        freed += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if not args.dry_run:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{freed:,} bytes {'would be ' if args.dry_run else ''}freed")


def diff(args) -> None:
    """Rows added, removed and changed between two actions (keys as `show` prints them, their first letters do)."""
    actions, blobs = _actions(args.data), Blobs(args.data)
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
    cleaning = command("gc", collect_garbage)
    cleaning.add_argument("--dry-run", action="store_true")
    cleaning.add_argument("--keep-memo", action="store_true")
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
        args.function(args)
    except UserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
