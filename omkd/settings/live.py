"""The configuration in force: asked by the parts, read again while the daemon runs."""

import logging
from collections.abc import Callable
from typing import Any

from attrs import evolve

from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.methods import ChangedOption, ConfigOption, ConfigResult, ReloadResult
from omkd.protocol.scalars import Json
from omkd.services.notice_rules import NoticeRule, means_words

from .errors import ConfigError
from .loading import ConfigFile, Loaded
from .table import OPTIONS, Settings, default_of

logger = logging.getLogger(__name__)

NOTIFY_SAYS = "who is told of which escalations ([[notify]])"


class LiveSettings:
    """`now` are the values in force; those that need a restart stay as they were at the start."""

    def __init__(self, file: ConfigFile, loaded: Loaded) -> None:
        self.now = loaded.settings
        self._file = file
        self._loaded = loaded
        self._at_start = loaded.settings
        self._followers: list[Callable[[Settings], None]] = []

    def follow(self, act: Callable[[Settings], None]) -> None:
        """Calls `act` with the values in force now, and after each change."""
        self._followers.append(act)
        act(self.now)

    def reload(self) -> ReloadResult:
        """Takes the whole file, or nothing of it. Raises ApiError: file, line and field are in its data."""
        try:
            loaded = self._file.load()
        except ConfigError as fault:
            logger.error("the configuration stays as it is: %s", fault)
            place = {"path": str(fault.path), "line": fault.line, "field": fault.field}
            raise ApiError(ErrorKind.REFUSED, f"{fault}; nothing was changed", **place) from fault
        changed = changes(self._loaded.settings, loaded.settings)
        self._loaded = loaded
        pinned = {name: getattr(self._at_start, name) for name, option in OPTIONS.items() if option.restart}
        self.now = evolve(loaded.settings, **pinned)
        for act in self._followers:
            act(self.now)
        needs_restart = [each.name for each in changes(self.now, loaded.settings)]
        words = ", ".join(each.name for each in changed) or "nothing"
        rest = f"; after a restart only: {', '.join(needs_restart)}" if needs_restart else ""
        logger.info("configuration read again from %s, changed: %s%s", self._file.path, words, rest)
        return ReloadResult(path=str(self._file.path), changed=changed, needs_restart=needs_restart)

    def shown(self) -> ConfigResult:
        """What is in force, and where it comes from."""
        return shown(self._file, self._loaded, self.now)


def shown(file: ConfigFile, loaded: Loaded, settings: Settings) -> ConfigResult:
    options = [
        ConfigOption(
            name=name,
            value=getattr(settings, name),
            default=json_of(default_of(Settings, name)),
            unit=option.unit,
            source=loaded.sources[name],
            restart=option.restart,
            says=option.says,
        )
        for name, option in OPTIONS.items()
    ]
    notify = ConfigOption(
        name="notify",
        value=json_of(settings.notify),
        default=[],
        unit="",
        source=loaded.sources["notify"],
        restart=False,
        says=NOTIFY_SAYS,
    )
    return ConfigResult(path=str(file.path), exists=loaded.exists, options=[*options, notify])


def changes(before: Settings, after: Settings) -> list[ChangedOption]:
    return [
        ChangedOption(
            name=name,
            before=json_of(getattr(before, name)),
            after=json_of(getattr(after, name)),
            restart=name in OPTIONS and OPTIONS[name].restart,
        )
        for name in (*OPTIONS, "notify")
        if getattr(before, name) != getattr(after, name)
    ]


def json_of(value: Any) -> Json:
    """A value as it may be shown: a webhook's address without its path, which is often its secret."""
    if isinstance(value, tuple):
        return [rule_json(each) if isinstance(each, NoticeRule) else each for each in value]
    shown_value: Json = value
    return shown_value


def rule_json(rule: NoticeRule) -> Json:
    return {
        "name": rule.name,
        "means": means_words(rule.means),
        "kinds": [*sorted(kind.value for kind in rule.kinds)],
        "workers": [*rule.workers],
        "timeout_secs": rule.timeout_secs,
        "attempts": rule.attempts,
        "repeat_after_secs": rule.repeat_after_secs,
        "remind_after_secs": rule.remind_after_secs,
        "reminders": rule.reminders,
    }
