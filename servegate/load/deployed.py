"""A service that runs somewhere already: where it is, how to get in, and one request that shows whether load would."""

import asyncio
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from servegate.errors import DeployedError, SettingsError
from servegate.load.requests import wrong_answer
from servegate.load.workload import KEY_VARIABLE, Requests, Workload

_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Deployed:
    """Where a service is.

    Attributes
    ----------
    url:
        Scheme, host and perhaps port and path, without a slash at the end.
    ca_file:
        Certificates of the authorities that are trusted instead of the system's; PEM.
    api_key:
        Sent with each request; None for none.
    """

    url: str
    ca_file: Path | None = None
    api_key: str | None = field(default=None, repr=False)

    @classmethod
    def from_options(cls, url: str, ca_file: str | None) -> "Deployed":
        """Read it from the options, and its key from the environment, since a process list shows the options.

        Raises
        ------
        SettingsError
            When this is no URL of a server, or the file isn't there.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise SettingsError(f"--perf-server-url={url!r}: must look like https://host.example:8443")
        if parts.username or parts.password:
            raise SettingsError(f"--perf-server-url names a password; a key belongs in the variable {KEY_VARIABLE}")
        if ca_file is not None and not Path(ca_file).is_file():
            raise SettingsError(f"--perf-server-ca={ca_file!r}: there is no such file")
        return cls(url.rstrip("/"), Path(ca_file) if ca_file else None, os.environ.get(KEY_VARIABLE) or None)

    @property
    def name(self) -> str:
        """Host and port, as a class of machine of its own."""
        return urlsplit(self.url).netloc

    def with_key(self, requests: Requests, header: str) -> Requests:
        """The same requests with the key in a header, where there is a key."""
        return requests if self.api_key is None else requests.with_header(header, self.api_key)

    def check(self, requests: Requests) -> None:
        """Send each request once; they have the key already.

        Raises
        ------
        DeployedError
            When it isn't answered rightly, with what to change.
        """
        for _, request in requests.parts:
            asyncio.run(self._check(request))

    async def _check(self, request: Workload) -> None:
        url = self.url + request.path
        connector = aiohttp.TCPConnector(ssl=tls_context(self.ca_file))
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
                session.request(
                    request.method, url, data=request.body, headers=request.headers, allow_redirects=False
                ) as response,
            ):
                status, body = response.status, await response.read()
        except aiohttp.ClientConnectorCertificateError as error:
            reason = getattr(error.certificate_error, "verify_message", str(error))
            raise DeployedError(
                f"{self.url}: its certificate is not trusted ({reason}); the file of an authority of your own is named "
                "with --perf-server-ca"
            ) from None
        except aiohttp.ClientConnectorSSLError:
            raise DeployedError(f"{self.url} speaks no TLS; is it http:// ?") from None
        except aiohttp.ClientConnectorDNSError:
            raise DeployedError(f"{self.url}: there is no such host") from None
        except aiohttp.ClientConnectorError as error:
            raise DeployedError(f"{self.url}: nothing answers there ({error.strerror})") from None
        except TimeoutError:
            raise DeployedError(f"{url} gave no answer within {_TIMEOUT_S:g} s") from None
        except aiohttp.ClientError as error:
            raise DeployedError(f"{url} gave no answer: {error!r}") from None
        self._explain(url, status)
        wrong = wrong_answer(request, status, body)
        if wrong is not None:
            raise DeployedError(f"{url}: {wrong}")

    def _explain(self, url: str, status: int) -> None:
        if status in (401, 403):
            key = f"refuses the key of {KEY_VARIABLE}" if self.api_key else f"wants a key: set {KEY_VARIABLE}"
            raise DeployedError(f"{url} {key} (status {status})")
        if status in (404, 405):
            raise DeployedError(f"{url}: there is no such path (status {status})")
        if 300 <= status < 400:
            raise DeployedError(f"{url} answers with a redirection (status {status}); name where it leads")


def tls_context(ca_file: Path | str | None) -> ssl.SSLContext:
    """Trusts the system's authorities, or those of the file alone."""
    return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
