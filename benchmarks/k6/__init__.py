"""The k6 script and what runs it."""
