"""One verb each: what is done with the files of a campaign, from finding them to their end."""
