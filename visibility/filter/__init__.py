"""The list-filter language: text to a typed tree."""
