"""Everything that is said to Rucio, through its own public client and protocol classes."""
