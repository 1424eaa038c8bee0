"""Shows one trace in the Perfetto UI, from this machine alone: what is served (`source`, `ui`), and to whom (`server`)."""
