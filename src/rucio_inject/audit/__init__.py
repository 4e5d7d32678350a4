"""What is on record against what the catalogue and the storages hold, and safe repairs."""
