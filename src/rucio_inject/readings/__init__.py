"""What a campaign's ledger and counts say, worked out once for every door: command line, web page,
report and metrics."""
