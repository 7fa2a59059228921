"""Print every measured claim beside its bar: ``python -m experiments.shows``. Exit 1 if one does not hold."""

import json
import sys

from experiments.record import ROOT, code_hash


def main() -> int:
    failed = 0
    for path in sorted((ROOT / "experiments").glob("*/results.json")):
        print(path.parent.name)
        for show in json.loads(path.read_text())["shows"]:
            failed += not show["holds"]
            mark = "holds" if show["holds"] else "MISSED"
            current = show["code"] == code_hash(*show.get("measured", ()))
            stale = "" if current else "  (measured on earlier code)"
            print(f"  {mark:6}  {show['claim']}: {show['value']:.4g}, bar {show['bar']}{stale}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
