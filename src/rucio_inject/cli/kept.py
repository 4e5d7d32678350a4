"""What a run leaves beside its ledger: the ledger in the shape of 2020, and figure 1."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import click

from rucio_inject.api import Injector
from rucio_inject.campaign.schema import Campaign
from rucio_inject.cli.output import legible
from rucio_inject.domain.errors import InjectError, LedgerError
from rucio_inject.ledger.export import write_seed
from rucio_inject.ledger.look import holds_lease
from rucio_inject.ledger.seed_json import by_dataset
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.ports import Ledger
from rucio_inject.steps.prepare import Lake
from rucio_inject.whole_files import replacing_durably


def keep(
    campaign: Campaign,
    ledger: SqlLedger,
    injector: Injector,
    lake: Lake,
    *,
    quiet: bool,
    changed: bool = True,
) -> Path | None:
    """Write what is kept of a run beside its ledger; gives figure 1, if it was drawn."""
    _tell_counting(injector)
    if not holds_lease(campaign):
        # Another run is at work, and these are its files now.
        return None
    # Of a million files either takes its time, and would show the same.
    seed, figure = campaign.seed_ledger_path, injector.folders.figure_1
    if seed is not None and (changed or not seed.exists()):
        _write_seed(seed, ledger)
    if not changed and figure.exists():
        return figure
    return _figure(injector, lake, quiet=quiet)


def keep_of_broken(keep_it: Callable[[], Path | None]) -> None:
    """The same of a run that an error ended: that is the one to be told, and not what follows."""
    try:
        keep_it()
    except InjectError as error:
        click.echo(legible(f"also: {error.message}"), err=True)


def _write_seed(path: Path, ledger: Ledger) -> None:
    """The ledger in the shape of 2020, for those who read that."""
    try:
        with replacing_durably(path) as part, part.open("w", encoding="utf-8") as out:
            write_seed(out, ledger.files(), by_dataset(ledger.rules()))
    except OSError as error:
        raise LedgerError(
            f"cannot write {path}: {error.strerror}",
            hint="all is on record in the ledger itself; mend that and run the same command again",
        ) from error


def _tell_counting(injector: Injector) -> None:
    """Say, even when quiet, that the counts in time end early; figure 1 shows what there is."""
    failure = injector.counting_failure
    if failure is None:
        return
    reason = repr(failure)
    if isinstance(failure, OSError):
        reason = f"{injector.folders.series} cannot be written: {failure.strerror or failure}"
    click.echo(f"counting of files and bytes stopped: {reason}", err=True)


def _figure(injector: Injector, lake: Lake, *, quiet: bool) -> Path | None:
    """Figure 1, where the extra for drawing is installed. What cannot be drawn is told, and takes
    nothing away from how the run ended."""
    if find_spec("matplotlib") is None:
        return None
    try:
        return injector.draw_figure_1(lake)
    except InjectError as error:
        reason = f"{error.message} ({error.hint})"
    except OSError as error:
        reason = f"{injector.folders.figure_1} cannot be written: {error.strerror or error}"
    if not quiet:
        click.echo(f"figure 1 is not drawn: {reason}", err=True)
    return None
