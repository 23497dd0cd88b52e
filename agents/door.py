"""Where the apps of a node find its agent: on its own address, and on those that containers can reach. Shell."""

import ipaddress

from agents.endpoint import Endpoint


class Door:
    """The agent's addresses; those asked for before the endpoint is there are opened with it."""

    def __init__(self, ip: str, port: int) -> None:
        self._ip = ip
        self._port = port
        self._endpoint: Endpoint | None = None
        self._wanted: set[str] = set()
        self._opened: set[str] = {ip}

    @property
    def url(self) -> str:
        """For whoever shares this machine's network."""
        return self._url_of(self._ip)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the agent's own address."""
        return ipaddress.ip_address(self._ip).is_loopback

    async def url_at(self, ip: str) -> str:
        """The URL on another address of this machine, opened if need be.

        Raises:
            OSError: it cannot be listened on.
        """
        if self._endpoint is None:
            self._wanted.add(ip)
        elif ip not in self._opened:
            await self._endpoint.listen(ip, self._port)
            self._opened.add(ip)
        return self._url_of(ip)

    async def open(self, endpoint: Endpoint) -> None:
        """Listen where it was asked for; what cannot be is asked for again with the next app."""
        self._endpoint = endpoint
        for ip in self._wanted:
            try:
                await self.url_at(ip)
            except OSError:
                continue

    def _url_of(self, ip: str) -> str:
        return f"http://[{ip}]:{self._port}" if ":" in ip else f"http://{ip}:{self._port}"
