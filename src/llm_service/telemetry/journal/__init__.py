"""The crash journal: accepted records in a memory-mapped file, so that the end of a process loses none of them."""
