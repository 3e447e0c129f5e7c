"""Small programs to read and run: `python -m llm_service.examples.NAME`. None needs a key or the network.

Each calls `local_provider`, a server on this machine that speaks the real protocols, through the real SDK. Without
`base_url` and `api_key` the same program calls the provider. The extra `examples` has what all of them need.
"""
