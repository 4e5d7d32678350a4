"""Running campaigns by the clock."""
