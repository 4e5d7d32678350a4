"""Making Rucio's tables and its root account: `python -m rucio_inject.lake.schema`.

Runs in a process of its own with the server's rucio.cfg, because Rucio reads its configuration
once a process. Begins afresh: it is only run while the lake's database was never finished.
"""

from __future__ import annotations

import sys

from rucio_inject.lake.postgres import DATABASE, ROLE


def main(socket_folder: str) -> None:
    """Create the database, its tables, the base VO and the account root."""
    _create_database(socket_folder)
    from rucio.db.sqla.util import (  # noqa: PLC0415  reads rucio.cfg when imported
        build_database,
        create_base_vo,
        create_root_account,
    )

    build_database()
    create_base_vo()
    create_root_account()


def _create_database(socket_folder: str) -> None:
    import psycopg  # noqa: PLC0415  part of the extra [lake]
    from psycopg import sql  # noqa: PLC0415

    name = sql.Identifier(DATABASE)
    with psycopg.connect(
        host=socket_folder, user=ROLE, dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))


if __name__ == "__main__":
    main(sys.argv[1])
