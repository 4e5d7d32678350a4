"""The command line: the only place that turns errors into text and exit codes."""
