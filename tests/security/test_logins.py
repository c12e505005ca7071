"""Every way of being let in by NATS, right and wrong, through `provider run` and `call`."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from provider.lattice.nkeys import KeyPair, Kind
from tests.operator_mode import Operator, creds_file

HANDLER = "def handle(command, arg): return arg\n"
PASSWORD, TOKEN = "hunter2-correct-horse", "token-of-a-thousand-letters"
REFUSED = "refused the connection"


@dataclass
class Way:
    """A server, what opens it and what does not.

    Attributes:
        url: of the server.
        right: variables with which it lets us in, several ways to say the same.
        wrong: variables with which it does not, each with what the error says.
        secrets: texts that may stand in nothing that is printed.
    """

    url: str
    right: list[dict[str, str]]
    wrong: list[tuple[dict[str, str], str]]
    secrets: list[str] = field(default_factory=list)


def password(serve, folder, **_) -> Way:
    server = serve(f"authorization {{ user: me, password: {PASSWORD} }}")
    file = folder / "password"
    file.write_text(f"{PASSWORD}\n")
    me = {"NATS_USER": "me"}
    return Way(
        server.url,
        [
            {**me, "NATS_PASSWORD": PASSWORD},
            {**me, "NATS_PASSWORD_FILE": str(file)},
            {"NATS_URL": f"nats://me:{PASSWORD}@127.0.0.1:{server.port}"},
        ],
        [
            ({}, REFUSED),
            ({**me, "NATS_PASSWORD": f"{PASSWORD}x"}, "NATS_USER, NATS_PASSWORD"),
            ({"NATS_URL": f"nats://me:{PASSWORD}x@127.0.0.1:{server.port}"}, REFUSED),
            ({**me, "NATS_PASSWORD_FILE": f"{folder}/absent"}, "NATS_PASSWORD_FILE"),
        ],
        [PASSWORD],
    )


def token(serve, folder, **_) -> Way:
    server = serve(f"authorization {{ token: {TOKEN} }}")
    file = folder / "token"
    file.write_text(TOKEN)
    return Way(
        server.url,
        [
            {"NATS_TOKEN": TOKEN},
            {"NATS_TOKEN_FILE": str(file)},
            {"NATS_URL": f"nats://{TOKEN}@127.0.0.1:{server.port}"},
        ],
        [({}, REFUSED), ({"NATS_TOKEN": f"{TOKEN}x"}, "NATS_TOKEN")],
        [TOKEN],
    )


def nkey(serve, folder, **_) -> Way:
    ours, other = KeyPair.generate(Kind.USER), KeyPair.generate(Kind.USER)
    server = serve(f"authorization {{ users: [ {{ nkey: {ours.public} }} ] }}")
    file = folder / "user.nk"
    file.write_text(f"{ours.seed}\n")
    return Way(
        server.url,
        [{"NATS_NKEY": ours.seed}, {"NATS_NKEY": str(file)}, {"NATS_NKEY_FILE": str(file)}],
        [
            ({}, REFUSED),
            ({"NATS_NKEY": other.seed}, "NATS_NKEY"),
            ({"NATS_NKEY": ours.seed[:-1]}, "NATS_NKEY\n  value     ********"),
            ({"NATS_NKEY": f"{ours.seed[:-1]}7"}, "NATS_NKEY: it holds no seed of an nkey"),
            ({"NATS_NKEY": f"{folder}/absent"}, "/absent"),
        ],
        [ours.seed[:-1], other.seed],
    )


def creds(serve, folder, operator, **_) -> Way:
    server = serve(operator.configuration)
    user, stranger = operator.user(), Operator().user()
    text = creds_file(user)
    file, jwt, seed = (folder / name for name in ("me.creds", "me.jwt", "me.nk"))
    file.write_text(text)
    jwt.write_text(user.jwt)
    seed.write_text(user.key.seed)
    return Way(
        server.url,
        [
            {"NATS_CREDS": text},
            {"NATS_CREDS": str(file)},
            {"NATS_CREDS_FILE": str(file)},
            {"NATS_JWT": user.jwt, "NATS_NKEY": user.key.seed},
            {"NATS_JWT_FILE": str(jwt), "NATS_NKEY": str(seed)},
        ],
        [
            ({}, REFUSED),
            ({"NATS_CREDS": creds_file(stranger)}, "NATS_CREDS"),
            ({"NATS_CREDS": text.partition("-----BEGIN USER")[0]}, "no USER NKEY SEED"),
            ({"NATS_CREDS": text.replace("\nSU", "\nSUA")}, "no seed of an nkey"),
            ({"NATS_CREDS": str(jwt)}, "it has no NATS USER JWT"),
            ({"NATS_JWT": user.jwt}, "the seed that belongs to it, in NATS_NKEY"),
            ({"NATS_JWT": user.jwt, "NATS_NKEY": stranger.key.seed}, REFUSED),
        ],
        [user.jwt, user.key.seed, stranger.jwt, stranger.key.seed],
    )


def tls(serve, authority, **_) -> Way:
    files = f"cert_file: '{authority}/server.pem', key_file: '{authority}/server.key'"
    server = serve(f"tls {{ {files} }}")
    ca = {"NATS_CA": f"{authority}/ca.pem"}
    return Way(
        server.url,
        [ca, {**ca, "NATS_URL": f"tls://127.0.0.1:{server.port}"}],
        [
            ({}, "is not trusted"),
            ({"NATS_CA": f"{authority}/other.pem"}, "name the authority that signed it in NATS_CA"),
            ({"NATS_CA": f"{authority}/server.key"}, "has no certificates in PEM (NATS_CA)"),
        ],
    )


def mutual_tls(serve, authority, **_) -> Way:
    files = f"cert_file: '{authority}/server.pem', key_file: '{authority}/server.key'"
    server = serve(f"tls {{ {files}, ca_file: '{authority}/ca.pem', verify: true }}")

    def shown(name: str, key: str) -> dict[str, str]:
        return {
            "NATS_CA": f"{authority}/ca.pem",
            "NATS_CERT": f"{authority}/{name}.pem",
            "NATS_KEY": f"{authority}/{key}.key",
        }

    return Way(
        server.url,
        [shown("client", "client")],
        [
            ({"NATS_CA": f"{authority}/ca.pem"}, "NATS_CERT and NATS_KEY"),
            (shown("stranger", "stranger"), "NATS_CERT and NATS_KEY"),
            (shown("client", "stranger"), "in PEM (NATS_CERT, NATS_KEY)"),
        ],
    )


WAYS = [password, token, nkey, creds, tls, mutual_tls]


@pytest.fixture(scope="module", params=WAYS, ids=lambda way: way.__name__)
def way(request, serve, authority, operator, tmp_path_factory) -> Way:
    folder = tmp_path_factory.mktemp("secrets")
    return request.param(serve=serve, folder=folder, authority=authority, operator=operator)


def test_who_is_let_in_serves_and_calls(way, start_provider, provider_command):
    environment = {}
    for number, right in enumerate(way.right):
        if not number:
            provider = start_provider(HANDLER, nats=way.url, **right)
            environment = provider.environment
        kept = {name: value for name, value in environment.items() if name[:5] != "NATS_"}
        done = provider_command("call", "x", "5", **{**kept, "NATS_URL": way.url, **right})
        assert (done.returncode, done.stdout) == (0, b"5\n"), done.stderr
        for secret in way.secrets:
            assert secret.encode() not in done.stderr
    assert provider.stop() == 0
    for secret in way.secrets:
        assert secret not in provider.text


def test_each_way_of_saying_it_serves(way, start_provider):
    providers = [
        start_provider(HANDLER, nats=way.url, ready=False, **right) for right in way.right[1:]
    ]
    for provider in providers:
        provider.wait_for("ready")
        assert provider.stop() == 0
        for secret in way.secrets:
            assert secret not in provider.text


def test_who_is_not_let_in_is_told_what_to_do(way, start_provider, provider_command):
    providers = [
        (start_provider(HANDLER, nats=way.url, ready=False, **wrong), says)
        for wrong, says in way.wrong
    ]
    for provider, says in providers:
        assert provider.wait() == 3, provider.text
        assert says in provider.text
        assert "error: " in provider.text
        assert "Traceback" not in provider.text
        kept = {n: v for n, v in provider.environment.items() if not n.startswith("PYTHON_")}
        done = provider_command("call", "x", "5", **kept)
        # What is wrong with a setting is no matter of who answers.
        assert done.returncode in (3, 4), done.stderr
        assert says in done.stderr.decode()
        assert b"Traceback" not in done.stderr
        for secret in way.secrets:
            assert secret not in provider.text
            assert secret.encode() not in done.stdout + done.stderr
