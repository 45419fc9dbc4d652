"""python -m pipeline: the scores of a run, its main pictures and tables, the papers' tables from those of its variants, its
labels for other tools; what a run will take, before it starts."""

import argparse
import os
import sys
from pathlib import Path

from exports.writers import formats
from pipeline import overview, paper_tables, scores
from pipeline.config import check_run_name, checked, load
from pipeline.estimate import command as estimate
from pipeline.hand_out import hand_out
from structures.errors import UserError


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipeline", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"), help="default %(default)s")
    commands = parser.add_subparsers(required=True, metavar="command", dest="command")
    meaning = "the measures of a run, from its table metrics"
    show = commands.add_parser("scores", help=meaning, description=meaning)
    show.add_argument("--run", default="toy", help="default %(default)s")
    meaning = "the main pictures and tables of a run, in its folder overview, for snakemake --report"
    gather = commands.add_parser("overview", help=meaning, description=meaning)
    gather.add_argument("--run", default="toy", help="default %(default)s")
    meaning = (
        "the papers' tables from the scores of a run's variants: data/tables.parquet, tables.md, and on the screen"
    )
    fill = commands.add_parser("tables", help=meaning, description=meaning)
    fill.add_argument("--run", default="toy", help="default %(default)s")
    fill.add_argument("--layout", type=Path, default=Path("config/tables.yaml"), help="default %(default)s")
    fill.add_argument("--variants", nargs="+", required=True, metavar="VARIANT:SEED")
    files = {"type": Path, "nargs": "+", "default": [Path("config/config.yaml")]}
    meaning = "the labels of a run in another tool's format, in a folder of its own"
    give = commands.add_parser("export", help=meaning, description=meaning)
    give.add_argument("--to", required=True, metavar="FORMAT", help=", ".join(formats()))
    give.add_argument("--worst", type=int, default=0, help="the pictures of so many labels of least confidence alone")
    give.add_argument("--out", type=Path, help="a new folder (default: RUN-FORMAT)")
    give.add_argument("--no-pictures", action="store_true", help="name the pictures where they lie, copy none")
    give.add_argument("--run", help="default: the configuration's")
    give.add_argument("--configfile", **files, help="the run's (default %(default)s)")
    meaning = "what a run will take before it starts: hours, GPU hours, disk and memory of each stage; nothing is run"
    plan = commands.add_parser("estimate", help=meaning, description=meaning)
    plan.add_argument("targets", nargs="*", metavar="TARGET", help="as for snakemake (default: the whole run)")
    plan.add_argument("--configfile", **files, help="as for snakemake (default %(default)s)")
    plan.add_argument("--config", nargs="+", default=[], metavar="KEY=VALUE", help="as for snakemake")
    plan.add_argument("--until", nargs="+", default=[], metavar="STAGE", help="as for snakemake")
    plan.add_argument("--all", action="store_true", help="what is done already, too")
    plan.add_argument("--cores", type=int, default=os.cpu_count(), help="default: all, %(default)s")
    plan.add_argument("--gpus", type=int, help="default: those that there are")
    plan.add_argument("--price", type=float, help="of an hour of a GPU")
    plan.add_argument("--cpu-price", type=float, help="of an hour of a core, in jobs that take no GPU")
    told = "in place of those that are counted"
    plan.add_argument("--images", type=int, metavar="N", help=f"training pictures, {told}")
    plan.add_argument("--val-images", type=int, metavar="N", help=f"validation pictures, {told}")
    plan.add_argument("--captions", type=int, metavar="N", help=f"captions of training pictures, {told}")
    plan.add_argument("--pairs", type=int, metavar="N", help=f"pairs of a picture and a noun, {told}")
    args = parser.parse_args()
    try:
        if args.command == "estimate":
            estimate.show(args)
            return
        if args.command == "export":
            export(args)
            return
        check_run_name(args.run, "--run")
        if args.command == "scores":
            scores.show(args.data / "runs" / args.run)
        elif args.command == "overview":
            overview.write(args.data / "runs" / args.run)
        else:
            variants = [tuple(name.split(":")) for name in args.variants]
            paper_tables.show(args.data, args.run, args.layout, variants)
    except UserError as error:
        sys.exit(str(error))


def export(args: argparse.Namespace) -> None:
    """Do what `export` asks for. Raises UserError."""
    config = checked(load(*args.configfile))
    run = args.run or config["run"]
    check_run_name(run, "--run")
    if args.worst < 0:
        raise UserError(f"--worst {args.worst}: at least 0")
    if args.to == "onnx":
        raise UserError(
            "--to onnx: labels have no such format; a trained detector leaves by "
            "`python -m stages.export_model --export.onnx train_detector`"
        )
    out = args.out or Path(f"{run}-{args.to}")
    done = hand_out(config, args.data / "runs" / run, args.to, out, worst=args.worst, pictures=not args.no_pictures)
    print(done)
    if args.to == "cvat":
        print(
            f"what CVAT exports comes back by review: {{decisions: FILE, handed_out: {out / 'instances_default.json'}}}"
        )
    elif args.to == "label_studio":
        print("what Label Studio exports (JSON) comes back by review: {decisions: FILE}")


if __name__ == "__main__":
    main()
