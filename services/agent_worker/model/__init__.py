"""Calls of model servers over OpenAI's wire protocol, and what their answers mean."""
