"""The site: the home page, the guides, the API reference and their index for programs. `make site` builds the pages."""
