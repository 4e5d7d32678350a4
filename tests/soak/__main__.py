"""`make soak`: the service for 24 cycles on a real lake, and proof that nothing is left behind."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
from tests.soak.field import CYCLES_KEPT, Sample, campaign, left_behind, serving, soak

from rucio_inject.lake.embedded import EmbeddedLake

MB = 1e6
# Of memory and disk: what the last half of the cycles may be above the first half.
_GROWTH = 1.1


def main() -> int:
    """Run it; 1 if anything is left, or grows."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--cycles", type=int, default=24, metavar="N")
    cycles = parser.parse_args().cycles
    root = Path(tempfile.mkdtemp(prefix="ri-soak-", dir="/tmp"))
    root.chmod(0o711)
    lake = EmbeddedLake(root / "lake")
    folder = root / "work"
    folder.mkdir()
    click.echo(f"a lake for {cycles} cycles is started in {root}")
    lake.start()
    try:
        click.echo(_HEAD)
        with serving(lake, folder, campaign()) as service:
            samples = soak(service, cycles, _tell)
            code = service.drain()
        left = _left(lake, folder)
    finally:
        lake.reset()
        shutil.rmtree(root)
    return _judge(samples, code, left)


_HEAD = (
    f"{'runs':>5} {'cycle':>6} {'s':>7} {'MB':>7} {'threads':>8} {'fds':>5} {'ledger kB':>10} "
    f"{'files':>6}"
)


def _tell(sample: Sample) -> None:
    click.echo(
        f"{sample.runs:>5} {sample.cycle:>6} {sample.seconds:>7.1f} {sample.memory / MB:>7.1f} "
        f"{sample.threads:>8} {sample.descriptors:>5} {sample.ledger / 1e3:>10.0f} "
        f"{sample.files:>6}",
    )


def _left(lake: EmbeddedLake, folder: Path) -> dict[str, int]:
    os.environ.update(lake.environment("magic"))
    # Rucio reads its configuration when it is imported.
    from rucio.client.client import Client

    client = Client()
    try:
        return {kind: len(found) for kind, found in left_behind(lake, client, folder).items()}
    finally:
        client.session.close()


def _judge(samples: Sequence[Sample], code: int, left: dict[str, int]) -> int:
    click.echo()
    for kind, count in left.items():
        click.echo(f"  left behind   {count} {kind}")
    click.echo(f"  exit code     {code}")
    grown = []
    # The first cycles fill caches, and the ledger up to what is kept.
    warm = samples[CYCLES_KEPT + 2 :]
    first, last = warm[: len(warm) // 2], warm[len(warm) // 2 :]
    for what in ("memory", "ledger", "descriptors", "threads", "files"):
        before = max((getattr(sample, what) for sample in first), default=0)
        after = max((getattr(sample, what) for sample in last), default=0)
        if before and after > _GROWTH * before:
            grown.append(what)
        click.echo(f"  {what:<13} at most {after:,} in the second half, {before:,} in the first")
    bad = bool(code or any(left.values()) or grown)
    click.echo(
        f"\n{'NOT WELL: ' + ', '.join(grown) if bad else 'nothing is left, and nothing grows'}"
    )
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
