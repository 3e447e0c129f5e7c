"""What both loggers can do: hand records over, ask, report, purge, estimate; each on both faces, in one module each."""
