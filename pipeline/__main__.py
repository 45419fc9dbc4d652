"""python -m pipeline: the scores of a run, its main pictures and tables, and the papers' tables from its variants'
scores."""

import argparse
import sys
from pathlib import Path

from pipeline import overview, paper_tables, scores
from pipeline.config import check_run_name
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
    args = parser.parse_args()
    try:
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


if __name__ == "__main__":
    main()
