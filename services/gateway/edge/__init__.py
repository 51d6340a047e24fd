"""HTTP without product nouns: routes as values, keys, limits, validation, the OpenAPI document, the server."""
