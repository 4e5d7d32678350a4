"""The lake's transfer service: copies files between RSEs for Rucio's own conveyor.

It speaks the part of FTS3's REST API that `rucio.transfertool.fts3` (41.5.1) uses, so that no Rucio
code is changed: the RSE attribute `fts` is all that points to it, and at a real site to the real
FTS. It runs as a process of its own:

    python -m rucio_inject.lake.transfers --host 127.0.0.1 --port PORT --state-dir DIR
        --allow-root DIR … --allow-roots-in DIR … [--workers N] [--fsync]

    server      HTTP: routes and status codes
    wire        JSON to a JobRequest and back to what Rucio reads
    service     what the routes do: submit, look up, cancel, set a priority
    pool        the worker threads
    store       jobs and files on disk (SQLite)
    posix       the copier for `file://`
    webdav      the copier for `davs://`, from server to server
    paths       which folders may be touched
    model       states, job types, and what follows from them
"""
