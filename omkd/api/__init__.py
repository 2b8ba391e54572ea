"""The control API: JSON-RPC 2.0 over the Unix socket."""
