"""What crosses a process: wire types, their codec, JSON-RPC. No trio, no file, no socket, no clock here."""
