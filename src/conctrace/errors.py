"""Errors that a user of the command line or of `conctrace.trace` meets: one clear line each; exit status 2 there."""

from __future__ import annotations


class ConctraceError(Exception):
    """Something the user can mend. The message says what is wrong, where, and what to do."""


class UsageError(ConctraceError):
    """The command line, or a call of `conctrace.trace`, asks for something that cannot be."""


class TraceFileError(ConctraceError):
    """A trace file is empty, not a trace, too new, or cut."""


class SessionError(ConctraceError):
    """A session folder is missing, in use, or not one of ours."""
