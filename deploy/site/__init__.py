"""Builds the pages that the gateway serves from the guides in `services/gateway/site/guides`. `make site` runs it."""
