"""One contestant doing one job, in a process of its own: `python -m benchmarks.injection.child`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.injection.job import Done, Job
from benchmarks.injection.rest_calls import CallCounter


def contestant(name: str) -> Callable[[Job, CallCounter], Done]:
    """What does a contestant's jobs. Only its own module is imported, for the memory's sake."""
    from benchmarks.injection.contestants import parts  # noqa: PLC0415

    match name:
        case "seed":
            from benchmarks.injection.contestants import seed  # noqa: PLC0415

            return seed.compete
        case "upload-client":
            from benchmarks.injection.contestants import upload_client  # noqa: PLC0415

            return upload_client.compete
        case "ours":
            from benchmarks.injection.contestants import ours  # noqa: PLC0415

            return ours.compete
        case "download-client":
            from benchmarks.injection.contestants import download_client  # noqa: PLC0415

            return download_client.compete
        case "plain-copy" | "plain-copy-1":
            return parts.copy_plainly
        case "bulk-calls":
            return parts.call_in_bulk
        case _:
            raise ValueError(f"there is no contestant {name}")


def peak_memory() -> int:
    """The most memory that this process ever had, in bytes.

    Not from getrusage: what that tells outlives exec, and would be the benchmark's own.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024


def main() -> None:
    """Do the job in the first file, and write what came of it to the second."""
    job_file, done_file = map(Path, sys.argv[1:])
    job, calls = Job.from_json(job_file.read_text(encoding="utf-8")), CallCounter()
    with calls.counting():
        done = contestant(job.contestant)(job, calls)
    done = replace(
        done,
        calls_in_all=calls.total,
        peak_memory=peak_memory(),
        details={**done.details, "calls": calls.kinds},
    )
    done_file.write_text(done.to_json(), encoding="utf-8")


if __name__ == "__main__":
    main()
