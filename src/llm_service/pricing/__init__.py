"""What a call costs: integer rates, names as they arrive, dated prices from `models.yaml` and from genai-prices.

Pure: no database, no clock but the default of a look-up, no network. Money is integer nano-USD.
"""
