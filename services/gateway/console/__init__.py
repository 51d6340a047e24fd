"""The playground and the console: pages for people, built from the public API (TypeScript), and their routes."""
