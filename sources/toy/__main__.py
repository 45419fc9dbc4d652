"""python -m sources.toy: draw the embedded data set into a folder."""

import argparse
import shutil
import sys
from pathlib import Path

from sources.toy.scenes import write_split

MARKER = ".drawn"


def main() -> None:
    """Draw the embedded data set; an existing folder is replaced only once the new one is whole."""
    parser = argparse.ArgumentParser(prog="python -m sources.toy", description=main.__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write, replaced if there")
    parser.add_argument("--train", type=int, required=True, help="training scenes")
    parser.add_argument("--val", type=int, required=True, help="validation scenes")
    parser.add_argument("--seed", type=int, required=True)
    args = parser.parse_args()
    if any(item.is_file() for item in args.out.rglob("*")) and not (args.out / MARKER).exists():
        sys.exit(
            f"{args.out} holds files that were not drawn here and is left alone: set toy.train to 0, or another root"
        )
    draft = args.out.with_name(args.out.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    try:
        write_split(draft, "train", args.train, args.seed)
        write_split(draft, "val", args.val, args.seed)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        sys.exit(
            f"cannot write the embedded data set to {args.out}: {error.strerror}; free some space or name "
            "another folder with the config key root"
        )
    (draft / MARKER).write_text("drawn by python -m sources.toy; replaced when its settings change\n")
    shutil.rmtree(args.out, ignore_errors=True)
    draft.rename(args.out)


if __name__ == "__main__":
    main()
