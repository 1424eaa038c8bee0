"""Plain text made from a trace."""
