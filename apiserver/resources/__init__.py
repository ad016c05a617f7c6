"""What is served: a row for each kind, a file for each API group, and what is special about each kind."""
