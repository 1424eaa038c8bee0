"""A program asks others: one answers, one is killed because it takes too long, one is not there at all.

What conctrace should find: lanes of their own for ``cat``, which ended with ``exit 0``, and ``sleep``, which was ``killed by
SIGKILL from MainProcess`` 0.1 s after its start. Their parent waited in ``Popen.communicate cat``, with 6 bytes in and 6
bytes out, then in ``Popen.communicate sleep`` until the time was over, and in ``Popen.wait sleep``. The third start is a call
that failed, with its error: ``FileNotFoundError``.
"""

import subprocess

answer = subprocess.run(["cat"], input="hello\n", capture_output=True, text=True, check=True)
print("cat said:", answer.stdout.strip())

try:
    subprocess.run(["sleep", "60"], timeout=0.1, check=False)
except subprocess.TimeoutExpired as late:
    print(late)

try:
    subprocess.run(["there-is-no-such-program", "--help"], check=False)
except FileNotFoundError as error:
    print(error)
