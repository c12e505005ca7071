"""The table of settings: one field of `Settings` is one knob.

The rule of this file: all that is said about a knob elsewhere (`.env.example`,
docs/configuration.md, `--help`, `provider config`, the texts of errors) is made from its field.
Nothing is read here; that is what `load` is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ConfigDict, PrivateAttr

from provider.servers import parse_servers
from provider.settings.kinds import (  # noqa: TC001  pydantic reads the annotations
    Credential,
    Duration,
    Files,
    Folders,
    Format,
    Keys,
    Level,
    Listen,
    Mode,
    Number,
    Origins,
    ReadableFile,
    Secret,
    Servers,
    ServiceName,
    Size,
    SomePath,
    Switch,
    Target,
    Text,
    Token,
    Tokens,
    Unloaded,
)
from provider.settings.knob import Knob, knob, knobs_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULT = "default"
"""The source of a value that nobody gave."""

GROUPS = {
    "Your code": "Which functions are served, and by which Python.",
    "NATS": "Where the NATS server is and how to be let in. "
    "The names and meanings are those of the `nats` command.",
    "Address": "The subjects the provider answers on.",
    "Lattice": "Signed calls, as wasmCloud hosts and actors make them. "
    "A host says most of this itself when it launches the provider.",
    "Calls": "How long a call may take, how many may wait and how many run.",
    "HTTP": "Calls over HTTP, from `provider run --http` or from `provider gateway`.",
    "gRPC": "Calls over gRPC, from `provider run --grpc` or from `provider gateway`.",
    "Limits": "How large a message and the values in it may be.",
    "Worker": "The process that runs your code.",
    "Reload": "What happens when your code is edited.",
    "Logs": "What is written to standard error.",
}
"""The groups of knobs in the order of the documentation, and what each is about."""


class Settings(BaseModel):
    """The value of every knob, checked. Made by `load`; built by hand it reads nothing.

    Attributes:
        sources: where each field's value came from, such as "flag --lattice",
            "environment NATS_URL", ".env NATS_URL", "context production" or "default".
        unknown: variables that begin with PROVIDER_ and are none of ours, each followed by the
            nearest name where one is near.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        validate_by_name=True,
        validate_by_alias=True,
        validate_default=False,
        hide_input_in_errors=True,
    )

    python_dispatch: Target = knob(
        "PYTHON_DISPATCH",
        "Your code",
        "The dispatch program, with its function handle(command, arg): the path of a file, "
        "or the name of a module.",
        flag="--dispatch",
    )
    python_main: SomePath = knob(
        "PYTHON_MAIN",
        "Your code",
        "A main program of your own in place of the built-in one, with a function "
        "main(command, arg).",
        flag="--main",
    )
    venv_path: SomePath = knob(
        "VENV_PATH",
        "Your code",
        "The virtual environment whose Python runs your code. "
        "Unset, it is the Python the provider itself runs on.",
    )
    python_path: Folders = knob(
        "PYTHON_PATH",
        "Your code",
        "More folders your code may import from, separated by colons.",
        default=(),
    )

    models: SomePath = knob(
        "PROVIDER_MODELS",
        "Your code",
        "Instead of a dispatch program: the config.json of servables with Python nodes, as of "
        "OpenVINO Model Server.",
    )

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

    call_timeout: Duration = knob(
        "PROVIDER_CALL_TIMEOUT",
        "Calls",
        "How long a call may wait and run when its caller does not say. 0 is no deadline.",
        default=60.0,
    )
    max_call_timeout: Duration = knob(
        "PROVIDER_MAX_CALL_TIMEOUT",
        "Calls",
        "The longest a call may take; a longer timeout of a caller is cut to this. "
        "0 is no maximum.",
        default=3600.0,
    )
    queue_calls: Number = knob(
        "PROVIDER_QUEUE_CALLS",
        "Calls",
        "How many calls may wait. One more is answered at once with `overloaded`.",
        ge=1,
        default=1024,
    )
    queue_bytes: Size = knob(
        "PROVIDER_QUEUE_BYTES",
        "Calls",
        "How much memory the arguments of waiting calls may take together.",
        ge=1,
        default=64 << 20,
    )
    cache_bytes: Size = knob(
        "PROVIDER_CACHE_BYTES",
        "Calls",
        "How much memory the results may take that operations declared with `cache` keep. "
        "0 keeps none.",
        default=16 << 20,
    )
    concurrency: Number = knob(
        "PROVIDER_CONCURRENCY",
        "Calls",
        "How many calls run at the same time, in threads. 1 is one after the other in the order "
        "of arrival.",
        ge=1,
        le=256,
        default=1,
    )

    http: Listen = knob(
        "PROVIDER_HTTP",
        "HTTP",
        "Answer calls over HTTP on this port of 127.0.0.1, or on this host:port. 0 is any free "
        "port. Unset, nobody listens.",
    )
    http_max_body: Size = knob(
        "PROVIDER_HTTP_MAX_BODY",
        "HTTP",
        "The largest body of a request.",
        ge=1,
        le=1 << 29,
        default=8 << 20,
    )
    http_max_headers: Size = knob(
        "PROVIDER_HTTP_MAX_HEADERS",
        "HTTP",
        "The most bytes of a request line and its headers.",
        ge=256,
        le=1 << 20,
        default=32 << 10,
    )
    http_concurrency: Number = knob(
        "PROVIDER_HTTP_CONCURRENCY",
        "HTTP",
        "How many requests may be on their way at once. One more is answered with 429.",
        ge=1,
        default=1024,
    )
    http_connections: Number = knob(
        "PROVIDER_HTTP_CONNECTIONS",
        "HTTP",
        "How many connections may be open. For one more the one is closed that was idle longest, "
        "or it is answered with 503.",
        ge=1,
        default=1000,
    )
    http_read_timeout: Duration = knob(
        "PROVIDER_HTTP_READ_TIMEOUT",
        "HTTP",
        "How long a request may take to come, its body included, and how long a client may leave "
        "an answer unread.",
        gt=0,
        default=30.0,
    )
    http_idle_timeout: Duration = knob(
        "PROVIDER_HTTP_IDLE_TIMEOUT",
        "HTTP",
        "How long a connection may wait for its next request.",
        gt=0,
        default=75.0,
    )
    http_origins: Origins = knob(
        "PROVIDER_HTTP_ORIGINS",
        "HTTP",
        "Web pages of these origins may call (CORS), separated by commas; * for all. Without it, "
        "only pages that come from the same host and port.",
        default=(),
    )
    http_token: Secret = knob(
        "PROVIDER_HTTP_TOKEN",
        "HTTP",
        "With it, callers have to send Authorization: Bearer and this.",
        flag=None,
    )
    http_api_key: Secret = knob(
        "PROVIDER_HTTP_API_KEY",
        "HTTP",
        "With it, callers have to send X-API-Key: and this. Of token and key either one will do.",
        flag=None,
    )

    grpc: Listen = knob(
        "PROVIDER_GRPC",
        "gRPC",
        "Answer calls over gRPC on this port of 127.0.0.1, or on this host:port. 0 is any free "
        "port. Unset, nobody listens.",
    )
    proto: Files = knob(
        "PROVIDER_PROTO",
        "gRPC",
        "The .proto files whose services are served, separated by colons: each method is an "
        "operation.",
        default=(),
    )
    grpc_max_message: Size = knob(
        "PROVIDER_GRPC_MAX_MESSAGE",
        "gRPC",
        "The largest message, either way. Clients have a limit of their own, 4 MiB unless told "
        "otherwise.",
        ge=1,
        le=1 << 29,
        default=8 << 20,
    )
    grpc_concurrency: Number = knob(
        "PROVIDER_GRPC_CONCURRENCY",
        "gRPC",
        "How many calls may be on their way at once. One more is answered with RESOURCE_EXHAUSTED.",
        ge=1,
        le=1 << 20,
        default=1024,
    )
    grpc_connections: Number = knob(
        "PROVIDER_GRPC_CONNECTIONS",
        "gRPC",
        "How many connections may be open. One more is closed.",
        ge=1,
        le=1 << 20,
        default=1000,
    )
    grpc_cert: ReadableFile = knob(
        "PROVIDER_GRPC_CERT",
        "gRPC",
        "File of the provider's certificate and its chain, in PEM. With it, and the key, TLS is "
        "spoken and nothing else.",
    )
    grpc_key: ReadableFile = knob(
        "PROVIDER_GRPC_KEY",
        "gRPC",
        "File of the private key of that certificate, in PEM, without a password.",
    )
    grpc_client_ca: ReadableFile = knob(
        "PROVIDER_GRPC_CLIENT_CA",
        "gRPC",
        "File of certificates, in PEM. With it, clients have to show one that was signed by one "
        "of them.",
    )
    grpc_reflection: Switch = knob(
        "PROVIDER_GRPC_REFLECTION",
        "gRPC",
        "Whether callers may ask which services and messages there are.",
        default=True,
    )

    max_message: Size = knob(
        "PROVIDER_MAX_MESSAGE",
        "Limits",
        "The largest message, either way. 0 is whatever the NATS server allows.",
        default=0,
    )
    max_depth: Number = knob(
        "PROVIDER_MAX_DEPTH",
        "Limits",
        "How deep lists and maps may lie inside one another.",
        ge=1,
        le=400,
        default=64,
    )
    max_items: Number = knob(
        "PROVIDER_MAX_ITEMS",
        "Limits",
        "The most members of one list or map.",
        ge=1,
        default=1_000_000,
    )
    max_string: Size = knob(
        "PROVIDER_MAX_STRING", "Limits", "The longest text or byte string.", ge=1, default=64 << 20
    )
    max_integer_bits: Number = knob(
        "PROVIDER_MAX_INTEGER_BITS", "Limits", "The most bits of one integer.", ge=1, default=65536
    )

    start_timeout: Duration = knob(
        "PROVIDER_START_TIMEOUT",
        "Worker",
        "How long your code may take to load.",
        gt=0,
        default=30.0,
    )
    stop_timeout: Duration = knob(
        "PROVIDER_STOP_TIMEOUT",
        "Worker",
        "How long calls already accepted may take to finish when the provider stops.",
        default=30.0,
    )
    workers: Number = knob(
        "PROVIDER_WORKERS",
        "Worker",
        "How many workers run your code, each one call at a time. More than one use more cores, "
        "and keep no order between calls.",
        ge=1,
        le=256,
        default=1,
    )
    recycle_calls: Number = knob(
        "PROVIDER_RECYCLE_CALLS",
        "Worker",
        "After about so many calls another worker takes the place of one, once it has loaded. "
        "0 is never.",
        ge=0,
        default=0,
    )
    recycle_memory: Size = knob(
        "PROVIDER_RECYCLE_MEMORY",
        "Worker",
        "The same, for one that takes so much memory. 0 is never.",
        default=0,
    )
    crash_limit: Number = knob(
        "PROVIDER_CRASH_LIMIT",
        "Worker",
        "How often in a row a worker may die before it has run a call. Then the provider ends "
        "with exit code 1. 0 is for ever.",
        ge=0,
        default=10,
    )
    worker_memory: Size = knob(
        "PROVIDER_WORKER_MEMORY",
        "Worker",
        "The most memory your code may have: of data in each process, and of all together where "
        "the system has control groups for it. More is a MemoryError in your function. 0 is no "
        "limit.",
        ge=0,
        default=0,
    )
    worker_cpu: Number = knob(
        "PROVIDER_WORKER_CPU",
        "Worker",
        "The share of processor time your code may have, in percent of one processor; needs "
        "control groups. 0 is no limit.",
        ge=0,
        default=0,
    )
    worker_cpu_time: Duration = knob(
        "PROVIDER_WORKER_CPU_TIME",
        "Worker",
        "The processor time a worker may use in its life, in whole seconds, before it is killed "
        "and replaced. 0 is no limit.",
        default=0.0,
    )
    worker_files: Number = knob(
        "PROVIDER_WORKER_FILES",
        "Worker",
        "The most files your code may have open at a time, about 16 of which the worker itself "
        "needs. 0 is what the system allows.",
        ge=0,
        default=0,
    )
    worker_processes: Number = knob(
        "PROVIDER_WORKER_PROCESSES",
        "Worker",
        "The most processes and threads your code may have, those of the worker included. "
        "Without control groups all those of its user count. 0 is what the system allows.",
        ge=0,
        default=0,
    )
    worker_file_size: Size = knob(
        "PROVIDER_WORKER_FILE_SIZE",
        "Worker",
        "The largest file your code may write. 0 is no limit.",
        ge=0,
        default=0,
    )
    worker_core: Switch = knob(
        "PROVIDER_WORKER_CORE",
        "Worker",
        "Whether a worker that crashes may leave a core dump, in which arguments can be read.",
        default=False,
    )
    worker_cgroup: Switch = knob(
        "PROVIDER_WORKER_CGROUP",
        "Worker",
        "Give each worker a control group where the system lets us, so that all it started ends "
        "with it.",
        default=True,
    )
    worker_user: Text = knob(
        "PROVIDER_WORKER_USER",
        "Worker",
        "Run your code as this user: a name, or numbers as in 1000:1000. Only root can. Unset, it "
        "runs as the user of the provider.",
    )
    tracebacks: Switch = knob(
        "PROVIDER_TRACEBACKS",
        "Worker",
        "Send tracebacks of your code to callers. They are in the log either way.",
        default=False,
    )
    inspection: Switch = knob(
        "PROVIDER_INSPECTION",
        "Worker",
        "Let debuggers, profilers and other programs of the same user, your code among them, look "
        "into the memory and the environment of the provider. Its secrets are there.",
        default=False,
    )

    reload: Switch = knob(
        "PROVIDER_RELOAD",
        "Reload",
        "Load your code again when it is edited, and answer the operation `reload`. "
        "Off for production.",
        default=True,
    )
    reload_mode: Mode = knob(
        "PROVIDER_RELOAD_MODE",
        "Reload",
        "How: `live` loads what changed in the process that runs, before the next call; `process` "
        "loads all of it in a fresh one, which takes over when it is ready.",
        default="live",
    )
    nothing_loaded: Unloaded = knob(
        "PROVIDER_NOTHING_LOADED",
        "Reload",
        "While no code can be loaded: `answer` tells callers so, with the reason; `leave` leaves "
        "the queue groups, so that other providers take the calls. Without others, callers then "
        "find nobody.",
        default="answer",
    )
    reload_poll: Duration = knob(
        "PROVIDER_RELOAD_POLL",
        "Reload",
        "Look so often whether files beside the program have changed, for network disks, which "
        "do not tell. 0 has the system tell. The program itself is looked at before each call.",
        default=0.0,
    )
    reload_files: Files = knob(
        "PROVIDER_RELOAD_FILES",
        "Reload",
        "More files that your code reads when it is loaded, such as models, separated by colons. "
        "When one of them holds something else, all of the code is loaded again.",
        default=(),
    )
    admin: Switch = knob(
        "PROVIDER_ADMIN",
        "Reload",
        "Answer the admin subjects, with which anyone on the NATS account may reload, drain and "
        "inspect every instance.",
        default=False,
    )

    log_level: Level = knob(
        "PROVIDER_LOG_LEVEL",
        "Logs",
        "The least important log lines that are written.",
        default="info",
    )
    log_format: Format = knob(
        "PROVIDER_LOG_FORMAT",
        "Logs",
        "Coloured lines for people, or one JSON object per line. "
        "auto is pretty on a terminal and json elsewhere.",
        default="auto",
    )

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)
    _unknown: tuple[str, ...] = PrivateAttr(default=())

    @property
    def sources(self) -> Mapping[str, str]:
        """Field to place; "code" where settings were built by hand."""
        return {
            field: self._sources.get(field, "code" if field in self.model_fields_set else DEFAULT)
            for field in KNOBS
        }

    @property
    def unknown(self) -> tuple[str, ...]:
        """For a warning: most are misspelt."""
        return self._unknown

    @property
    def nats_url_given(self) -> bool:
        """Whether somebody chose the NATS server, rather than leaving it to the default."""
        return self.sources["nats_url"] != DEFAULT

    @property
    def nats_servers(self) -> tuple[str, ...]:
        """The servers of `nats_url` one by one, each with its scheme. May hold passwords."""
        return parse_servers(self.nats_url)

    def __repr_args__(self) -> Iterator[tuple[str, str]]:
        for field, row in KNOBS.items():
            yield field, row.write(getattr(self, field))


KNOBS: Mapping[str, Knob] = knobs_of(Settings.model_fields)
"""The table, by name of the field."""


# --- Showing -------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One line of `provider config`."""

    variable: str
    value: str
    source: str
    help: str


def rows(settings: Settings) -> list[Row]:
    """Every setting as text, in the order of the documentation, secrets masked."""
    sources = settings.sources
    return [
        Row(row.variable, row.write(getattr(settings, field)), sources[field], row.help)
        for field, row in KNOBS.items()
    ]
