"""HTTP: one client for REST v1, REST v2 and GraphQL, with the failures of Go's net/http."""

from __future__ import annotations

import http.client
import json
import socket
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from .base import GENERATION, VERSIONS, CliError, seconds, setting

RETRIES = 3  # the newest generation's attempts, the first included
BACKOFF_S = 0.5  # before the second; doubles


@dataclass
class Answer:
    """An HTTP answer: status, header fields, body."""

    status: int
    headers: Any
    body: bytes

    def json(self) -> Any:
        """The body as a value; null for an empty one."""
        try:
            return json.loads(self.body or b"null")
        except ValueError as error:
            raise CliError(f"failed to parse response: {error}", reported=True) from error


class Deadline:
    """A moment after which nothing is waited for any more."""

    def __init__(self, timeout: float):
        self.end = time.monotonic() + timeout

    def left(self) -> float:
        """Seconds that are left; raises TimeoutError when none are."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def go_reason(error: Exception, address: str) -> str:
    """Why a request got no answer, in the words of Go's net/http."""
    if isinstance(error, TimeoutError):
        return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    if isinstance(error, ConnectionRefusedError):
        return f"dial tcp {address}: connect: connection refused"
    if isinstance(error, socket.gaierror):
        return f"dial tcp: lookup {address.rsplit(':', 1)[0]}: no such host"
    if isinstance(error, http.client.RemoteDisconnected):
        return "EOF"
    if isinstance(error, ConnectionResetError):
        return f"read tcp {address}: read: connection reset by peer"
    return str(error) or type(error).__name__


def request(
    method: str, url: str, key: str, timeout: float, body: Any, told: str = "request failed: "
) -> Answer:
    """One request. CliError with code network_error, told so, when there is no answer."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    headers = {
        "Authorization": f"Bearer {key}",
        "Content-Type": "application/json",
        "User-Agent": f"runpod-cli/{VERSIONS[GENERATION]} (double)",
    }
    deadline = Deadline(timeout)
    data = None if body is None else json.dumps(body)
    connection = None
    try:
        connection = kind(parts.hostname or "", port, timeout=deadline.left())
        connection.connect()
        connection.sock.settimeout(deadline.left())
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request(method, path, data, headers)
        response = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        # TimeoutError is an OSError; before Python 3.10 the socket has one of its own.
        error = TimeoutError() if isinstance(error, socket.timeout) else error
        if connection:
            connection.close()
        reason = go_reason(error, f"{parts.hostname}:{port}")
        text = f'{told}{method.title()} "{url}": {reason}'
        raise CliError(text, "network_error", reported=True) from error
    try:
        return Answer(response.status, response.headers, response.read())
    except socket.timeout as error:
        reason = "(Client.Timeout or context cancellation while reading body)"
        text = f"failed to read response: context deadline exceeded {reason}"
        raise CliError(text, reported=True) from error
    except (OSError, http.client.HTTPException) as error:
        raise CliError("failed to read response: unexpected EOF", reported=True) from error
    finally:
        connection.close()


def with_retries(method: str, url: str, key: str, timeout: float, body: Any) -> Answer:
    """request, again where the newest generation tries again: a read, or anything after 429."""
    read = method == "GET"
    for attempt in range(1, RETRIES + 1):
        delay = BACKOFF_S * 2 ** (attempt - 1)
        last = attempt == RETRIES
        try:
            answer = request(method, url, key, timeout, body)
        except CliError as error:
            if last or not read or error.code != "network_error":
                raise
        else:
            if last or not (answer.status == 429 or (answer.status >= 500 and read)):
                return answer
            after = answer.headers.get("Retry-After", "")
            delay = int(after) if after.isdigit() else delay
        time.sleep(delay)
    raise AssertionError("the last attempt returns or raises")


STATUS_CODES = {
    400: "bad_request",
    422: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    409: "conflict",
    429: "rate_limited",
}


def api_error(answer: Answer) -> CliError:
    """What the API refused, as the newest generation tells it: the message and a stable code."""
    text = answer.body.decode("utf-8", "replace").strip()
    message, code = text, ""
    if text[:1] in ("{", "[", ""):
        message = ""
        try:
            envelope = json.loads(text)
        except ValueError:
            envelope = None
        if isinstance(envelope, dict):
            code = str(envelope.get("code") or "").lower()
            message = str(envelope.get("error") or envelope.get("message") or "")
            if not message and envelope.get("detail"):
                details = "; ".join(envelope.get("errors") or [])
                message = f"{envelope['detail']} {details}".strip()
    message = message or f"api request failed with status {answer.status}"
    by_status = "server_error" if answer.status >= 500 else "api_error"
    return CliError(message, code or STATUS_CODES.get(answer.status, by_status), answer.status)


class Client:
    """Talks to the API: REST v1, REST v2, GraphQL."""

    def __init__(self, key_missing: str, default_timeout: float = 30):
        self.key = setting("apiKey", "RUNPOD_API_KEY")
        if not self.key:
            raise CliError(key_missing, "no_credentials", reported=True)
        self.timeout = default_timeout
        if GENERATION != "1.14":
            self.timeout = seconds("timeout", default_timeout)

    def rest_v2(self, method: str, path: str, query: Any = None, body: Any = None) -> Any:
        """A call of REST v2 (the newest generation); returns its value."""
        base = setting("restV2ApiUrl", "RUNPOD_REST_V2_URL") or "https://api.runpod.io/v2"
        return self._coded(method, with_query(base.rstrip("/") + path, query), body)

    def account(self, query: str) -> dict[str, Any]:
        """A GraphQL query by the REST client, as both 2.x generations ask for the account."""
        url = setting("apiUrl", "RUNPOD_GRAPHQL_URL") or "https://api.runpod.io/graphql"
        send = self._coded if GENERATION == "main" else self._plain
        value = send("POST", url, {"query": query, "variables": None})
        if value.get("errors"):
            message = f"graphql error: {value['errors'][0]['message']}"
            raise CliError(message, "graphql_error", reported=True)
        return value.get("data") or {}

    def rest_v1(self, method: str, path: str, query: Any = None, body: Any = None) -> Any:
        """A call of REST v1 (2.7); returns its value."""
        base = setting("restApiUrl", "RUNPOD_API_URL") or "https://rest.runpod.io/v1"
        return self._plain(method, with_query(base + path, query), body)

    def graphql(self, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
        """A call of 2.7's or 1.14's GraphQL client; returns its data."""
        name = "RUNPOD_GRAPHQL_URL" if GENERATION == "2.7" else "RUNPOD_API_URL"
        url = setting("apiUrl", name) or "https://api.runpod.io/graphql"
        timeout = seconds("graphqlTimeout", 30) if GENERATION == "2.7" else self.timeout
        body = {"query": query, "variables": variables or {}}
        answer = request("POST", url, self.key, timeout, body, told="")
        if answer.status != 200:
            text = answer.body.decode("utf-8", "replace")
            told = {"2.7": f"graphql error: status {answer.status}: {text}"}
            raise CliError(told.get(GENERATION, f"statuscode {answer.status}"), reported=True)
        value = answer.json()
        if value.get("errors"):
            raise CliError(value["errors"][0]["message"], reported=True)
        return value.get("data") or {}

    def _coded(self, method: str, url: str, body: Any) -> Any:
        """A call as the newest generation makes it: retried, errors with a code."""
        answer = with_retries(method, url, self.key, self.timeout, body)
        if not 200 <= answer.status < 300:
            raise api_error(answer)
        return answer.json()

    def _plain(self, method: str, url: str, body: Any) -> Any:
        """A call as 2.7 makes it: once, errors as the body came."""
        answer = request(method, url, self.key, self.timeout, body)
        if not 200 <= answer.status < 300:
            text = answer.body.decode("utf-8", "replace")
            raise CliError(f"api error: {text} (status {answer.status})", reported=True)
        return answer.json()


def with_query(url: str, query: dict[str, str] | None) -> str:
    """The URL with those query fields that say something."""
    fields = sorted((name, value) for name, value in (query or {}).items() if value)
    return f"{url}?{urlencode(fields)}" if fields else url
