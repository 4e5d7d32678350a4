"""Run it, print tables, write JSON: `python -m benchmarks.injection`; see docs/benchmarks.md."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.injection import machine, scaling, table
from benchmarks.injection.cases import DEFAULT, QUICK, Case, parse_case
from benchmarks.injection.contest import (
    BULK,
    COPY,
    COPY_1,
    DOWNLOAD,
    INJECTING,
    OURS,
    ROOT,
    Contest,
    Sizes,
    Try,
)
from benchmarks.injection.figures import summary
from benchmarks.injection.lake import BenchLake, running_lake
from benchmarks.injection.sources import make_sources
from benchmarks.injection.targets import TARGETS
from rich.console import Console

CONTESTANTS = (*INJECTING, DOWNLOAD, COPY, COPY_1, BULK)
# Unless asked for, larger cases are tried once: the lake takes minutes for their transfers.
OFTEN = 5000
FIGURE = ROOT / "docs" / "figures" / "injection-scaling.png"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.injection", description=__doc__)
    add = parser.add_argument
    add("--quick", action="store_true", help="a smoke run: small cases, once")
    add("--cases", nargs="+", type=_case, help="as in 1000x100kB 4x1GiB")
    add("--repeat", type=int, help=f"tries at each case (default: 3, or 1 above {OFTEN} files)")
    add("--contestants", nargs="+", choices=CONTESTANTS, default=CONTESTANTS)
    add("--threads", type=int, default=4, help="of each contestant that has any (default: 4)")
    add("--seed-files", type=int, help="files for the seed's sequence (default: 50)")
    add("--upload-files", type=int, help="files for UploadClient (default: 200)")
    add("--download-files", type=int, help="files for DownloadClient (default: 200)")
    add("--lake", type=Path, help="use the lake that runs in this folder")
    add("--out", type=Path, help="the JSON file (default: a new one in benchmarks/results)")
    add("--scaling", action="store_true", help="our cost against the number of files instead")
    add("--counts", nargs="+", type=int, default=scaling.COUNTS, help="files for --scaling")
    add("--figure", type=Path, default=FIGURE, help=f"for --scaling (default: {FIGURE.name})")
    return parser


def _case(text: str) -> Case:
    try:
        return parse_case(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _sizes(chosen: argparse.Namespace) -> Sizes:
    default = Sizes(seed=10, upload=30, download=50) if chosen.quick else Sizes()
    return Sizes(
        chosen.threads,
        chosen.seed_files or default.seed,
        chosen.upload_files or default.upload,
        chosen.download_files or default.download,
    )


def _contest(chosen: argparse.Namespace, lake: BenchLake, contest: Contest) -> list[Try]:
    tries: list[Try] = []
    if chosen.scaling:
        tries += scaling.run(contest, lake.work, sorted(chosen.counts), chosen.repeat or 1)
        return tries
    for case in chosen.cases or (QUICK if chosen.quick else DEFAULT):
        folder = make_sources(lake.work, case)
        once = chosen.quick or case.files > OFTEN
        repeat = chosen.repeat or (1 if once else 3)
        tries += contest.run(case, folder, chosen.contestants, repeat)
    return tries


def _show(console: Console, tries: Sequence[Try], *, targets: bool) -> None:
    cases = list(dict.fromkeys(one.case for one in tries))
    for case in cases:
        console.print(table.case_table(tries, case))
    console.print(table.stage_table(tries, cases))
    if targets:
        console.print(table.target_table(tries))


def _show_scaling(console: Console, tries: Sequence[Try], path: Path) -> dict[str, Any]:
    points = scaling.curves(tries)
    exponents = {name: scaling.exponent(some) for name, some in points.items()}
    for name, fitted in exponents.items():
        console.print(f"{name}: exponent {'-' if fitted is None else f'{fitted:.2f}'}")
    if points["injected"]:
        scaling.draw(points, path)
        console.print(f"figure: {path}")
    return {"points": points, "exponents": exponents}


def _targets(tries: Sequence[Try]) -> list[dict[str, Any]]:
    rows = []
    for target in TARGETS:
        found = target.measured(tries)
        told = {"case": target.case, "what": target.what, "bound": target.bound}
        measured = asdict(found) if found else None
        rows.append({**told, "measured": measured, "met": target.met(tries)})
    return rows


def main() -> None:
    """Run the benchmark as the arguments say."""
    parser = _parser()
    chosen = parser.parse_args()
    if DOWNLOAD in chosen.contestants and OURS not in chosen.contestants:
        parser.error(f"{DOWNLOAD} downloads what {OURS} injects: name both")
    begun = datetime.now(UTC)
    stamp = f"{begun:%Y%m%dT%H%M%S}"
    # Lines as wide as the tables: they are read in files, too.
    console = Console(width=None if Console().is_terminal else 180)
    with running_lake(chosen.lake) as lake:
        told: dict[str, Any] = {
            "begun": begun.isoformat(),
            "machine": machine.facts(lake.described),
        }
        contest = Contest(lake, _sizes(chosen), console.print, stamp)
        with closing(contest):
            tries = _contest(chosen, lake, contest)
    _show(console, tries, targets=not chosen.scaling)
    if chosen.scaling:
        told["scaling"] = _show_scaling(console, tries, chosen.figure)
    else:
        told["targets"] = _targets(tries)
        told["summary"] = summary(tries)
    told["tries"] = [one.to_row() for one in tries]
    kind = "scaling" if chosen.scaling else "injection"
    out = chosen.out or ROOT / "benchmarks" / "results" / f"{kind}-{stamp}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    console.print(f"written: {out}")


if __name__ == "__main__":
    main()
