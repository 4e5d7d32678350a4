"""Facts, numbers and times as people read them, wherever they do."""
