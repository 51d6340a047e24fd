"""The widget of an agent: its settings, and the secrets that verify its visitors' identities."""
