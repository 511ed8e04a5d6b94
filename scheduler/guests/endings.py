"""Ending a command in its guest: every process that carries its mark, and the proof that none does.

Closing the connection ends nothing, `timeout` misses what has left its process group or session.
The environment a process was started with is passed on to all its children, so it is what they are
found by. A process that wiped it on purpose is out of reach, as one that changed its name would be.
"""

from __future__ import annotations

import asyncio

from asyncssh import SSHClientConnection

from scheduler.errors import GuestUnreachable
from scheduler.guests.outputs import Stream
from scheduler.guests.sessions import open_session
from scheduler.guests.wrapper import MARK, Invocation, command_line, line_of
from scheduler.ids import Prefix, new_id

END_SECONDS = 120.0
"""Far above what a guest needs: TERM's grace and two looks take three seconds; in one whose
processor is emulated on a busy host most of half a minute."""

# Twenty looks after TERM are two seconds of grace; a hundred that still find something are enough.
# Where `grep` cannot find a mark that is there, finding none proves nothing: exit code 2.
_PROGRAM = """
export SANDBOXD_PROBE=1
grep -qzxF SANDBOXD_PROBE=1 /proc/self/environ || exit 2
none=0 looks=0
while [ "$none" -lt 2 ]; do
  found=$(grep -lzxF "$1" /proc/[0-9]*/environ 2>/dev/null)
  if [ -z "$found" ]; then
    none=$((none + 1))
  else
    none=0 looks=$((looks + 1)) name=
    [ "$looks" -eq 1 ] && name=TERM
    [ "$looks" -gt 20 ] && name=KILL
    [ "$looks" -gt 100 ] && exit 1
    for file in $found; do
      pid=${file#/proc/}
      [ -z "$name" ] || kill -s "$name" "${pid%/environ}" 2>/dev/null
    done
  fi
  [ "$none" -ge 2 ] || sleep 0.1 2>/dev/null || sleep 1
done
"""


async def end_processes(connection: SSHClientConnection, command_id: str) -> bool:
    """End what runs of the command; return whether two looks in a row found nothing of it."""
    look = Invocation(argv=("/bin/sh", "-c", _PROGRAM, "sh", f"{MARK}={command_id}"))
    # A mark of its own, so that it does not end itself.
    line = command_line(new_id(Prefix.COMMAND))
    try:
        async with asyncio.timeout(END_SECONDS):
            session = await open_session(connection, line, _ignore)
            try:
                session.send(line_of(look, login=""))
                await session.ended()
            finally:
                session.abandon()
    except (GuestUnreachable, TimeoutError):
        return False
    return session.exit_code == 0


def _ignore(stream: Stream, data: bytes) -> None:
    """The program has nothing to say but its exit code."""
