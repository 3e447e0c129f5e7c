"""Hooks into clients of providers: each logical call becomes one record, and its caller notices nothing."""
