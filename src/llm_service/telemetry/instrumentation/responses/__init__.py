"""What answers of providers, and the events of their streams, say of a call: shapes are read, no SDK is imported."""
