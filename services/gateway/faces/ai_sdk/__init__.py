"""Vercel's AI SDK: the UI message stream (v1) that `useChat` of ai@5, 6 and 7 speaks, over chats of an agent."""
