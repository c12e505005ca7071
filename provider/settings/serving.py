"""What is served, and by whom: your code, the worker that runs it, reloads, and the log.

The rule of this file: it has fields of the table and nothing else (`table`).
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from provider.settings.kinds import (  # noqa: TC001  pydantic reads the annotations
    Duration,
    Files,
    Folders,
    Format,
    Level,
    Mode,
    Number,
    Size,
    SomePath,
    Switch,
    Target,
    Text,
    Unloaded,
)
from provider.settings.knob import knob


class Serving(BaseModel):
    """Knobs of these groups."""

    model_config = ConfigDict(defer_build=True)

    # --- Your code --------------------------------------------------------------------------------

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

    # --- Worker -----------------------------------------------------------------------------------

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

    # --- Reload -----------------------------------------------------------------------------------

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

    # --- Logs -------------------------------------------------------------------------------------

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
