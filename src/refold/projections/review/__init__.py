"""What a rebuild would change: the rows that it makes, beside those that are read, and why they differ."""
