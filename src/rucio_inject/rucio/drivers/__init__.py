"""Ways to speak to storages that are not folders, quicker than Rucio's protocol classes: a driver
a protocol, which keeps its connections. What has none is left to Rucio's classes."""
