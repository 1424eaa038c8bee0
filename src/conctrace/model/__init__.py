"""From records to what happened: processes, threads, waits with their causes, holds, arrows."""
