"""One module a contestant: `compete` does a job, and tells what it took."""
