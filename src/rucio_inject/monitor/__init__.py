"""What can be seen of a campaign from outside: counts, series and figures."""
