"""The record of one LLM call: its fields (THE table), how each is checked, ids and timestamps."""
