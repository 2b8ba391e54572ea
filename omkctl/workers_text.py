"""Workers in words: a table, and all that is known of one."""

import shlex

from .json_text import to_text
from .render import Output, one_line
from .shapes import HostLog, Runner, Worker
from .values import duration_text

HEADER = ("name", "role", "state", "in hand", "queued", "last sign", "command")
COMMAND_CHARS = 40
NO_WORKERS = "no workers (omkctl worker add NAME -- COMMAND)"


def table(workers: list[Worker], out: Output) -> None:
    out.table(HEADER, [row(worker, out) for worker in workers])


def row(worker: Worker, out: Output) -> list[str]:
    return [
        worker["name"],
        worker["role"],
        worker["state"],
        " ".join(worker["in_hand"]),
        str(worker["queued"]),
        out.time(worker["last_sign"]),
        one_line(command(worker), COMMAND_CHARS),
    ]


def command(worker: Worker) -> str:
    """As one would type it; for a worker without one, who plays it."""
    if worker["runner"] is not None:
        return shlex.join(worker["runner"]["command"])
    return "(foreign)" if worker["foreign"] else "(another program)"


def describe(worker: Worker, out: Output) -> None:
    spec, runner = worker["spec"], worker["runner"]
    facts = {
        "role": worker["role"],
        "state": out.styled(worker["state"]),
        "in hand": " ".join(worker["in_hand"]),
        "queued": str(worker["queued"]),
        "window": str(worker["window"]) if worker["window"] else "no limit",
        "last sign": out.time(worker["last_sign"]),
        "pid": str(worker["pid"]) if worker["pid"] else "",
        "project": spec.get("project_dir") or "",
        "approval": to_text(spec.get("approval_policy")).strip('"'),
        "command": command(worker),
    }
    if runner is not None:
        facts |= of_runner(runner)
    facts["inbox"] = spec.get("inbox", "")
    out.line(f"worker {worker['name']}" + (" (foreign)" if worker["foreign"] else ""))
    for name, value in facts.items():
        if value:
            out.line(f"  {name + ':':<11}{value if name == 'state' else one_line(value)}")


def of_runner(runner: Runner) -> dict[str, str]:
    stall = runner["stall_secs"]
    return {
        "acp": acp(runner),
        "env": " ".join(f"{key}={shlex.quote(value)}" for key, value in runner["env"].items()),
        "budget": f"{duration_text(runner['budget_secs'])}, then {duration_text(runner['grace_secs'])} of grace",
        "retries": str(runner["retries"]) if runner["retries"] else "",
        "stall": f"after {duration_text(stall)} without a word from its agent" if stall else "",
        "interrupt": f"{runner['on_interrupt']} (what becomes of a task whose host died)",
        "idle exit": f"after {duration_text(runner['idle_exit_secs'])} without a daemon",
    }


def acp(runner: Runner) -> str:
    """How its agent is driven; empty for a plain command."""
    if not runner["acp"]:
        return ""
    mode = f", in the mode {runner['acp_mode']}" if runner["acp_mode"] else ""
    asks = ", which asks as it is" if runner["acp_asks"] else ""
    session = ", all tasks in one session" if runner["acp_session"] == "worker" else ""
    return f"a task is a turn of the agent{mode}{asks}{session}"


def describe_log(log: HostLog, out: Output) -> None:
    """The end of its host.log, if there is one."""
    if log["lines"]:
        out.line(f"  {'log:':<11}{one_line(log['path'])}")
    for text in log["lines"]:
        out.line(f"    {one_line(text)}")
