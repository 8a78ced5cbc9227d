"""The loads that need Python: the official client, and PostgreSQL alone. `benchmarks/loader/` puts all others."""
