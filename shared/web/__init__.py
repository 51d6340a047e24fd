"""What the HTTP servers share: bodies, problem documents, the outermost middleware, health, and a process's life."""
