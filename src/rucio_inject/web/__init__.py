"""The web page: a door beside the command line, which looks at a board of campaigns."""
