"""Estimates before a call: how many tokens it will take, what it will cost, and how often such estimates have held."""
