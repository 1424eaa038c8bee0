"""The trace file ``.ctrace``: its bytes (`format`, `codec`), who writes it (`writer`), who reads it (`reader`).

`source_names` finds out, while the trace is written, what the program's source calls its locks.
"""
