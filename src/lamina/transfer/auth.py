"""Authorization at one registry: basic, or bearer tokens (distribution's "Token Authentication Specification").

What a registry wants, it says with its first 401; from then on each request carries it. Tokens are kept by what they
are for, and got anew when one is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from urllib.parse import urlencode, urlsplit

from lamina.errors import LaminaError
from lamina.oci.document import Fields, parse_json
from lamina.transfer.credentials import Credentials
from lamina.transfer.http import Http, Trust, host_of, read_all

_MAX_ANSWER = 1 << 20
_CLIENT = "lamina"


class Authorizer:
    """Makes Authorization headers for one registry, for any number of threads."""

    def __init__(self, http: Http, trust: Trust, credentials: Credentials | None) -> None:
        self._http = http
        self._trust = trust
        self._credentials = credentials
        self._lock = Lock()
        self._asking = Lock()
        self._basic = False
        self._tokens: dict[str, str] = {}

    def headers(self, scope: str) -> dict[str, str]:
        """Return what is known to be needed for `scope`: nothing before the first refusal."""
        with self._lock:
            if self._basic and self._credentials:
                return {"Authorization": self._credentials.basic()}
            token = self._tokens.get(scope)
        return {"Authorization": f"Bearer {token}"} if token else {}

    def answer(self, challenge: str, scope: str, url: str, refused: Mapping[str, str]) -> bool:
        """Prepare for what a 401 from `url` asks for; False where it is nothing that we have or can get.

        `refused` is what `headers` returned for the request. Of threads whose token is refused one asks for another.
        """
        scheme, fields = parse_challenge(challenge)
        if scheme == "basic":
            with self._lock:
                before, self._basic = self._basic, True
            return not before and self._credentials is not None and bool(self._credentials.username)
        if scheme != "bearer" or not fields.get("realm"):
            return False
        with self._asking:
            if self.headers(scope) in ({}, refused):
                token = self._token(fields, scope, url)
                with self._lock:
                    self._tokens[scope] = token
        return True

    def _token(self, fields: Mapping[str, str], scope: str, url: str) -> str:
        realm = fields["realm"]
        if urlsplit(realm).scheme == "http" and url.startswith("https:"):
            raise LaminaError("log in at", host_of(url), f"it wants the password sent without encryption to {realm}")
        asked = {"service": fields.get("service", "")}
        scopes = [part for part in (scope or fields.get("scope", "")).split(" ") if part]
        who = self._credentials
        headers = {}
        if who and who.identity_token:
            form = {
                **asked,
                "scope": " ".join(scopes),
                "client_id": _CLIENT,
                "grant_type": "refresh_token",
                "refresh_token": who.identity_token,
            }
            body = urlencode(form).encode()
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            response = self._http.request("POST", realm, headers=kind, trust=self._trust, body=lambda: body)
        else:
            if who and who.username:
                headers["Authorization"] = who.basic()
            query = urlencode([*asked.items(), *(("scope", part) for part in scopes)])
            separator = "&" if urlsplit(realm).query else "?"
            response = self._http.request("GET", f"{realm}{separator}{query}", headers=headers, trust=self._trust)
        data = read_all(response, _MAX_ANSWER, f"the answer of {host_of(realm)}")
        if response.status != 200:
            refused = response.status in (401, 403)
            reason = f"it answers {response.status}"
            if refused:
                reason = "it does not accept the name and password" if who else "it wants a name and a password"
            raise LaminaError("log in at", host_of(realm), reason, f"lamina login {host_of(url)}")
        answer = Fields(parse_json(data, "the token"), f"the answer of {host_of(realm)}")
        token = answer.text("token") or answer.text("access_token")
        if not token or any(c.isspace() or not c.isprintable() for c in token):
            raise LaminaError("log in at", host_of(realm), "its answer has no token")
        return token


def parse_challenge(text: str) -> tuple[str, dict[str, str]]:
    """Return scheme, in lower case, and parameters of a WWW-Authenticate header (RFC 9110, 11.6.1)."""
    scheme, _, rest = text.strip().partition(" ")
    fields: dict[str, str] = {}
    while rest := rest.lstrip(" ,"):
        name, equals, rest = rest.partition("=")
        if not equals:
            break
        if rest.startswith('"'):
            value, rest = _quoted(rest[1:])
        else:
            value, _, rest = rest.partition(",")
        fields[name.strip().lower()] = value.strip()
    return scheme.lower(), fields


def _quoted(text: str) -> tuple[str, str]:
    """Return what stands before the closing quote, unescaped, and what follows it."""
    value = []
    at = 0
    while at < len(text) and text[at] != '"':
        if text[at] == "\\":
            at += 1
        value.append(text[at : at + 1])
        at += 1
    return "".join(value), text[at + 1 :]
