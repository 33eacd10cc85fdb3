"""Vendors' own programs that time a model: for each the words that start it, and a pure parser of what it says."""
