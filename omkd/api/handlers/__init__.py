"""What each method does: one table, with the names of `omkd.protocol.methods.METHODS`."""

from collections.abc import Mapping
from typing import Final

from omkd.api.calls import Handler

from . import daemon, decisions, escalations, events, log, steering, task_list, tasks, tending, workers

HANDLERS: Final[Mapping[str, Handler]] = {
    "omkd.hello": daemon.hello,
    "omkd.status": daemon.status,
    "omkd.shutdown": daemon.shutdown,
    "omkd.reload": daemon.reload,
    "omkd.config": daemon.config,
    "omkd.verify": daemon.verify,
    "rpc.discover": daemon.discover,
    "worker.add": workers.add,
    "worker.list": workers.list_workers,
    "worker.get": workers.get,
    "worker.log": tending.log,
    "worker.update": tending.update,
    "worker.adopt": tending.adopt,
    "worker.apply": tending.apply,
    "worker.pause": tending.pause,
    "worker.resume": tending.resume,
    "worker.restart": tending.restart,
    "worker.remove": workers.remove,
    "task.send": tasks.send,
    "task.list": task_list.list_tasks,
    "task.update": steering.update,
    "task.cancel": steering.cancel,
    "task.retry": steering.retry,
    "task.hold": steering.hold,
    "task.release": steering.release,
    "task.get": tasks.get,
    "task.wait": tasks.wait,
    "task.log": log.log,
    "event.publish": events.publish,
    "event.list": events.list_events,
    "event.subscribe": events.subscribe,
    "escalation.list": escalations.list_escalations,
    "escalation.tail": escalations.tail,
    "escalation.ack": escalations.ack,
    "decision.list": decisions.list_decisions,
    "decision.answer": decisions.answer,
    "decision.ask": decisions.ask,
    "decision.wait": decisions.wait,
    "subscription.cancel": daemon.cancel_subscription,
}
