"""How a call becomes a record where it happens: a block that is timed, a function, a stream."""
