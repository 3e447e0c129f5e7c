"""The real engine beside a small model of it, every interleaving chosen by hypothesis."""
