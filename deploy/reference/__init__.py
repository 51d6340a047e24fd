"""The reference pages, and the code that generates them from the product's own tables: one module per page."""
