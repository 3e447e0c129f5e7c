"""Prices of calls: integer rates, model names as they arrive, dated prices from `models.yaml` and genai-prices.

Pure: no database, no network, no clock except for look-ups without a time. Money is integer nano-USD.
"""
