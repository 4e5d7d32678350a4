"""What a site needs for a campaign, tried out: by real writes, and nothing left behind."""
