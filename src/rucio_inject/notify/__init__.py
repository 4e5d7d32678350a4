"""Telling people what is not as it should be, and when it is over."""
