"""The calls of history's internal API, one file per noun. `shared/history_client.py` joins them."""
