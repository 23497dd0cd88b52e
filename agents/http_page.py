"""One HTTP/1.1 question to an app: does this page answer? Shell of the agents."""

import asyncio
import os

import h11

#: Largest head of an answer; its body is not read.
HEAD_BYTES_MAX = 8 << 10
_READ_BYTES = 4 << 10
#: What counts as a good answer: done, or look elsewhere.
_GOOD = range(200, 400)


async def ask_page(ip: str, port: int, path: str, timeout_s: float) -> str:
    """Empty if GET of the page was answered with 200 to 399 in time, else what came instead, for people."""
    try:
        async with asyncio.timeout(timeout_s):
            status = await _ask(ip, port, path)
    except TimeoutError:
        return f"no answer within {timeout_s * 1_000:g} ms"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    except (h11.ProtocolError, EOFError):
        return "the answer is not HTTP/1.1"
    return "" if status in _GOOD else f"answered {status}"


async def _ask(ip: str, port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection(ip, port, limit=HEAD_BYTES_MAX)
    try:
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_BYTES_MAX)
        host = f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"
        headers = [("host", host), ("user-agent", "watchkeep"), ("accept", "*/*"), ("connection", "close")]
        writer.write(connection.send(h11.Request(method="GET", target=path, headers=headers)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                return event.status_code
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(_READ_BYTES))
            elif not isinstance(event, h11.InformationalResponse):
                raise EOFError
    finally:
        # What else the app would say is of no interest.
        writer.transport.abort()
