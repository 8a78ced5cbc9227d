"""Where messages are kept: the Store contract and one module per store."""
