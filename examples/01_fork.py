"""A process forks; its child works a little longer than it does, with a status of its own.

What conctrace should find: two processes, ``MainProcess`` and ``Fork-1``. The arrow ``fork`` leads from the slice
``os.fork`` to the child, the arrow ``end`` from the child to ``os.waitpid Fork-1``, in which its parent spent nearly all of
its life. The child ended with ``exit 3``, and conctrace knows because the parent asked.
"""

import os
import time

pid = os.fork()
if pid == 0:
    print(f"child: my parent is {os.getppid()}", flush=True)
    time.sleep(0.1)
    os._exit(3)

print(f"parent: my child is {pid}")
_, status = os.waitpid(pid, 0)
print(f"parent: my child ended with status {os.waitstatus_to_exitcode(status)}")
