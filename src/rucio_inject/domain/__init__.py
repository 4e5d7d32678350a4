"""The words of the project: values, states, facts and errors; no I/O, no clock."""
