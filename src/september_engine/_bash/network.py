"""Programs that talk to other machines: to whom, as far as the words tell, and what they write."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ..permissions import Network
from .call import Call, Effect, Judge, Outcome
from .doubt import NotUnderstood
from .hosts import host_of
from .options import parse
from .values import Argument

__all__ = ["ANY_HOST", "PROGRAMS"]

ANY_HOST = Network(host="*")

CURL = (
    "-sSLfIikvgGO046 -X: -H: -o> -A: -u: -d: -m: -e: -r: --silent --show-error --location --fail --fail-with-body "
    "--head --include --insecure --verbose --globoff --get --remote-name --request: --header: --output> "
    "--user-agent: --user: --data: --data-raw: --data-urlencode: --json: --max-time: --connect-timeout: --retry: "
    "--retry-delay: --compressed --http1.1 --http2 --tlsv1.2 --proto: --url: --create-dirs --no-progress-meter "
    "--progress-bar"
)
"""Without `-T`, `-F`, `-K` and `-w`, which send, obey or write files, and without those that choose another way out."""

WGET = (
    "-qcNSv -O> -P> -t: -T: -U: --quiet --continue --output-document> --directory-prefix> --no-verbose --tries: "
    "--timeout: --show-progress --spider --no-check-certificate --header: --user-agent: --https-only"
)
LOOKUPS: Mapping[str, str] = {
    "ping": "-nq46 -c: -W: -w: -i: -s:",
    "dig": "-46 -t: -p:",
    "nslookup": "",
    "host": "-46av -t:",
    "traceroute": "-n46 -m: -w:",
    "whois": "",
}
HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")

INSTALLERS: Mapping[str, str] = {
    "apt": "-yqs --yes --no-install-recommends --simulate --quiet",
    "apt-get": "-yqs --yes --no-install-recommends --simulate --quiet",
    "brew": "-qv --cask --quiet",
    "gem": "-N -v: --no-document --version:",
    "dnf": "-yq",
    "yum": "-yq",
    "apk": "-q --no-cache --update",
}


def curl(call: Call) -> Outcome:
    options = parse(call, CURL)
    sent = options.values("-d", "--data", "--data-urlencode", "--json", "-H", "--header")
    if any(_names_a_file(one) for one in sent):
        raise NotUnderstood("it may send a file")
    hosts = [Network(host=_host(one)) for one in (*options.operands, *options.values("--url"))]
    here = [call.here()] if options.has("-O", "--remote-name") else []
    return Outcome(effects=(*hosts, *options.effects(call), *here))


def wget(call: Call) -> Outcome:
    options = parse(call, WGET)
    hosts = [Network(host=_host(one)) for one in options.operands]
    return Outcome(effects=(*hosts, *(list(options.effects(call)) or [call.here()])))


def looks_up(call: Call) -> Outcome:
    """Even a question for a name can carry something out."""
    parse(call, LOOKUPS[call.program])
    return Outcome(effects=tuple(Network(host=_name(one)) for one in call.arguments) or (ANY_HOST,))


def installs(call: Call) -> Outcome:
    """Into the system, with whatever scripts the packages bring."""
    options = parse(call, INSTALLERS[call.program])
    everywhere: tuple[Effect, ...] = (ANY_HOST, call.write(Argument("/", value="/")))
    if not options.operands:
        raise NotUnderstood(f"what {call.program} does is not known")
    return Outcome(effects=everywhere, opaque=True)


def reaches(call: Call) -> Outcome:
    """Programs whose options and settings can run commands: they are never known well enough."""
    doubt = f"{call.program} talks to another machine, and may run commands here and there"
    return Outcome(effects=(ANY_HOST,), doubt=doubt)


def _names_a_file(argument: Argument) -> bool:
    return argument.value is None or "@" in argument.value.partition(":")[0] or argument.value.startswith("@")


def _host(argument: Argument) -> str:
    """The host of what curl takes for a URL. Raises for a scheme that is not the web's."""
    text = argument.value
    if text is None:
        # `https://example.org/$x` is for that host, whatever follows, as long as it stays one word
        certain = re.match(r"https?://[^/]+/", argument.begins) if not argument.many or argument.stays else None
        return host_of(certain.group()) or "*" if certain else "*"
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*:", text) and not re.match(r"(?i)https?://|[A-Za-z0-9.-]+:[0-9]+(/|\Z)", text):
        raise NotUnderstood(f"`{text}` is not an address of the web")
    return host_of(text if "://" in text else f"http://{text}") or "*"


def _name(argument: Argument) -> str:
    text = argument.value or ""
    return text.lower() if HOST.fullmatch(text) else "*"


PROGRAMS: Mapping[str, Judge] = {
    "curl": curl,
    "wget": wget,
    **dict.fromkeys(LOOKUPS, looks_up),
    **dict.fromkeys(INSTALLERS, installs),
    **dict.fromkeys("ssh scp sftp nc ncat netcat telnet ftp socat mosh".split(), reaches),
}
