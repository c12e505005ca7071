"""Where the provider is reached: NATS, its address there, and the lattice it belongs to.

The rule of this file: it has fields of the table and nothing else (`table`).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from provider.settings.kinds import (  # noqa: TC001  pydantic reads the annotations
    Credential,
    Duration,
    Keys,
    Number,
    ReadableFile,
    Secret,
    Servers,
    ServiceName,
    Switch,
    Text,
    Token,
    Tokens,
)
from provider.settings.knob import knob


class Reaching(BaseModel):
    """Knobs of these groups."""

    model_config = ConfigDict(defer_build=True)

    # --- NATS -------------------------------------------------------------------------------------

    nats_url: Servers = knob(
        "NATS_URL",
        "NATS",
        "The NATS server, or several of one cluster separated by commas. "
        "Schemes: nats (when left out), tls, ws, wss.",
        default="nats://127.0.0.1:4222",
    )
    nats_user: Text = knob("NATS_USER", "NATS", "User name.")
    nats_password: Secret = knob("NATS_PASSWORD", "NATS", "Password of the user.", flag=None)
    nats_token: Secret = knob(
        "NATS_TOKEN", "NATS", "Token, where the server asks for one.", flag=None
    )
    nats_creds: Credential = knob(
        "NATS_CREDS", "NATS", "Credentials file (.creds) of a NATS user, or its text."
    )
    nats_nkey: Credential = knob(
        "NATS_NKEY", "NATS", "File with the seed of an NKey, or the seed itself."
    )
    nats_jwt: Credential = knob(
        "NATS_JWT",
        "NATS",
        "File with the JWT of a NATS user, or the JWT itself, where NATS_NKEY has the seed for it.",
    )
    nats_cert: ReadableFile = knob("NATS_CERT", "NATS", "Client certificate for TLS, a PEM file.")
    nats_key: ReadableFile = knob(
        "NATS_KEY", "NATS", "Private key of the client certificate, a PEM file."
    )
    nats_ca: ReadableFile = knob(
        "NATS_CA", "NATS", "Certificates to trust in place of the system's, a PEM file."
    )
    nats_context: Text = knob(
        "NATS_CONTEXT",
        "NATS",
        "A context of the nats command, by name. It fills in whatever of this group is given "
        "nowhere else.",
    )
    nats_ping: Duration = knob(
        "PROVIDER_NATS_PING",
        "NATS",
        "How often the NATS server is asked whether it is still there. One that leaves two such "
        "questions open is taken for gone at the next, and the connection is made anew.",
        gt=0,
        default=5.0,
    )
    nats_inbox_prefix: Tokens = knob(
        "NATS_INBOX_PREFIX",
        "NATS",
        "What the subjects begin with on which answers are received. Where it is another for each "
        "user, permissions can keep users from the answers of others.",
        default="_INBOX",
    )
    embedded_nats: Switch = knob(
        "PROVIDER_EMBEDDED_NATS",
        "NATS",
        "Start a NATS server of our own, unless a URL is given.",
        default=False,
    )
    embedded_port: Number = knob(
        "PROVIDER_EMBEDDED_PORT",
        "NATS",
        "Port of that server, on 127.0.0.1; 0 for any free one.",
        ge=0,
        le=65535,
        default=4222,
    )
    wait: Switch = knob(
        "PROVIDER_WAIT",
        "NATS",
        "Keep trying while no NATS server answers at the start. Off, that is an error at once.",
        default=True,
    )

    # --- Address ----------------------------------------------------------------------------------

    lattice: Tokens = knob(
        "PROVIDER_LATTICE",
        "Address",
        "The lattice: providers and callers in different lattices do not see each other.",
        default="default",
    )
    key: Token = knob(
        "PROVIDER_KEY",
        "Address",
        "The provider key in the subject wasmbus.rpc.LATTICE.KEY.LINK.",
        default="python",
    )
    link_name: Token = knob(
        "PROVIDER_LINK_NAME", "Address", "The link name in that subject.", default="default"
    )
    name: ServiceName = knob(
        "PROVIDER_NAME",
        "Address",
        "The name in service discovery and in the subjects provider.LATTICE.NAME.OPERATION.",
        default="python",
    )

    # --- Lattice ----------------------------------------------------------------------------------

    cluster_issuers: Keys = knob(
        "PROVIDER_CLUSTER_ISSUERS",
        "Lattice",
        "Public keys (C...) that may sign calls, separated by commas. With one, signed calls of "
        "linked actors are answered, and links and health asked for as on a wasmCloud lattice.",
        default=(),
    )
    strict: Switch = knob(
        "PROVIDER_STRICT",
        "Lattice",
        "Refuse what the wasmbus protocol lets through: a signed call sent a second time or long "
        "ago, one for another link or contract, a shutdown that names no host, and calls that "
        "nobody signed.",
        default=False,
    )
    cluster_seed: ReadableFile = knob(
        "PROVIDER_CLUSTER_SEED",
        "Lattice",
        "File with the seed (SC...) that signs calls made with --wasmbus.",
    )
    actor: Text = knob(
        "PROVIDER_ACTOR",
        "Lattice",
        "Public key (M...) of the actor in whose name such calls are made.",
    )
    contract_id: Text = knob(
        "PROVIDER_CONTRACT_ID",
        "Lattice",
        "The contract in their target and in links.",
        default="wasmcloud:example:python",
    )
