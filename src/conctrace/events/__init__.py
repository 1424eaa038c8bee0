"""What a trace is made of: number spaces, event kinds, and the bytes they are stored in.

Both halves of conctrace share this package and nothing else of weight: it is imported in every
traced process, so it uses no module that a bare Python start does not have already.
"""
