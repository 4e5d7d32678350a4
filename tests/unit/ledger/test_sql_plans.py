"""What is asked for each of many things goes by an index, and through no table."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import event, text
from tests.ledger_databases import Location, clock, location, open_database

from rucio_inject.ledger.engine import Database
from rucio_inject.ledger.queries import rules_of
from rucio_inject.ledger.sql_ledger import SqlLedger
from rucio_inject.testing.contracts.ledger import RUN, SIBLING
from rucio_inject.testing.fake_clock import FakeClock

__all__ = ["clock", "location", "open_database"]


def test_the_rules_of_a_dataset_are_found_by_it(
    location: Location, clock: FakeClock, open_database: Callable[[Location], Database]
) -> None:
    with SqlLedger(location, "magic", clock=clock):
        database = open_database(location)
    asked: list[tuple[str, object]] = []

    def note(_: object, cursor: object, statement: str, parameters: object, *more: object) -> None:
        asked.append((statement, parameters))

    with database.reading() as connection:
        event.listen(connection, "before_cursor_execute", note)
        rules_of(connection, 1, [RUN, SIBLING])
        event.remove(connection, "before_cursor_execute", note)
        ((statement, parameters),) = asked
        if not database.is_sqlite:
            # It would read so small a table as a whole.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        explain = f"EXPLAIN {'QUERY PLAN ' * database.is_sqlite}{statement}"
        plan = connection.exec_driver_sql(explain, parameters).all()  # type: ignore[arg-type]
    assert "ix_inject_rules_campaign_dataset" in str(plan)
