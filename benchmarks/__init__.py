"""How fast the broker is: servers as child processes, load from processes of their own, rounds interleaved."""
