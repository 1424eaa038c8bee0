"""Takes what the traced processes record out of the session folder, and makes the trace and the outputs of it.

Two processes, in a session of their own so that no signal for the target's group reaches them:

collector  `launch` forks it, `loop` is its event loop: `drain` reads live pages, segments and tables, `liveness`
           knows who lives, `channel` hands blocks to the writer and takes its acknowledgements
writer     `writer` appends blocks to ``trace.ctrace`` and acknowledges them, `outputs` exports at the end

`recovery` does the work of both for a session whose collector died.
"""
