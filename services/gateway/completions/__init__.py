"""OpenAI's API: completions, stored completions and models. Route modules export their `ROUTES`."""
