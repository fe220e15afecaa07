"""The result of `mutmut run`: the score of each module, and every survivor that equivalents.toml does not explain.

Usage, after `mutmut run`: python tests/mutation/score.py [--survivors]. Exit status 1 where the score is below 95 % or an
entry of equivalents.toml explains no survivor (any more). A mutant that no test reaches counts as a survivor.
"""

import json
import re
import sys
import tomllib
from collections import Counter
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant

MUTANTS, EQUIVALENTS = Path("mutants"), Path(__file__).with_name("equivalents.toml")
SURVIVED, NOT_REACHED, NOT_RUN = 0, (5, 33), None  # mutmut's exit codes; any other is a death
WANTED = 0.95


def survivors(path: Path, alive: list[str]) -> dict[str, str]:
    """By name: ``file function: line before => line after``, on one line."""
    told = {}
    for name in alive:
        lines = get_diff_for_mutant(name, path=path).splitlines()[2:]
        before, after = (" ".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+")
        function = name.rpartition(".")[2].rpartition("__mutmut_")[0].removeprefix("x").strip("_ǁ").replace("ǁ", ".")
        told[name] = f"{path} {function}: {before} => {after}"
    return told


def main() -> int:
    reasons = tomllib.loads(EQUIVALENTS.read_text("utf-8")).get("equivalent", []) if EQUIVALENTS.exists() else []
    used: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    unexplained: list[str] = []
    print(f"{'module':40} mutants equivalent killed   score")
    for meta in sorted(MUTANTS.rglob("*.py.meta")):
        path = meta.relative_to(MUTANTS).with_suffix("")
        codes = json.loads(meta.read_text("utf-8"))["exit_code_by_key"]
        if NOT_RUN in codes.values():
            print(f"{path!s:40} not finished: mutmut run")
        alive = survivors(path, [name for name, code in codes.items() if code in (SURVIVED, *NOT_REACHED, NOT_RUN)])
        left = []
        for change in alive.values():
            reason = next((r["reason"] for r in reasons for p in r["changes"] if re.search(p, change)), None)
            used.update(p for r in reasons for p in r["changes"] if re.search(p, change))
            if reason is None:
                left.append(change)
        counts = {"mutants": len(codes), "equivalent": len(alive) - len(left), "killed": len(codes) - len(alive)}
        sums.update(counts)
        unexplained += left
        tell(str(path), **counts)
    tell("all", **sums)
    if "--survivors" in sys.argv:
        print("\n".join(["", *unexplained]))
    stale = [p for r in reasons for p in r["changes"] if not used[p]]
    for pattern in stale:
        print(f"explains no survivor: {pattern}")
    return int(bool(stale) or sums["killed"] < WANTED * (sums["mutants"] - sums["equivalent"]))


def tell(name: str, mutants: int, equivalent: int, killed: int) -> None:
    share = f"{killed / (mutants - equivalent):7.1%}" if mutants > equivalent else ""
    print(f"{name:40} {mutants:7} {equivalent:10} {killed:6} {share}")


if __name__ == "__main__":
    sys.exit(main())
