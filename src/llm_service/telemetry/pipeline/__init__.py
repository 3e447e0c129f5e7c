"""Earlier names of two modules of `writer`, for programs that look inside; they go with version 1."""
