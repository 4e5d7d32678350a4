"""CPU seconds of each part of an embedded lake while a command runs.

python -m benchmarks.cpu LAKE COMMAND [ARGUMENT ...]

One line: the seconds that passed, those of each of the lake's parts with its children, and those
of the command. CPU seconds tell where the work is also when the machine has other things to do.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil


def seconds_of(members: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds that each part has had so far; a child that has ended counts with its parent."""
    seconds = {}
    for name, number in members.items():
        root = psutil.Process(number)
        ended = root.cpu_times()
        seconds[name] = ended.children_user + ended.children_system
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                seconds[name] += times.user + times.system
    return seconds


def main() -> None:
    """Run the command, and tell what it cost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lake", type=Path, help="the lake's folder")
    parser.add_argument("command", help="what is run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    chosen = parser.parse_args()
    command = [chosen.command, *chosen.arguments]
    state = json.loads((chosen.lake / "state.json").read_text(encoding="utf-8"))
    members = {name: member["pid"] for name, member in state["members"].items()}
    before, begun = seconds_of(members), time.perf_counter()
    ended = subprocess.run(command, check=False)
    passed, after = time.perf_counter() - begun, seconds_of(members)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    parts = [f"{name} {after[name] - before[name]:.2f}" for name in members]
    print(f"{passed:.2f} s;", *parts, f"command {used.ru_utime + used.ru_stime:.2f}")
    sys.exit(ended.returncode)


if __name__ == "__main__":
    main()
