"""The embedded lake: a real, unmodified Rucio with its database, daemons and storage."""
