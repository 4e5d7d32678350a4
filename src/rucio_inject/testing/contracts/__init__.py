"""The ports' docstrings as test suites: a subclass gives fixtures, and an adapter is checked."""
