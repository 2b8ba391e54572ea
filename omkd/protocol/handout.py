"""The `id` of an inbox line: which hand-out of which task. A task's id has no dot."""

from .scalars import HandoutId, TaskId

NUMBER_DIGITS = 9


def handout_id(task_id: TaskId, handout: int) -> HandoutId:
    """The first hand-out has the task's id, the n-th `<id>.<n>`."""
    return HandoutId(task_id if handout == 1 else f"{task_id}.{handout}")


def task_of_handout(text: str) -> tuple[TaskId, int]:
    """The task and number behind an inbox line's `id`: `t12.2` is hand-out 2 of t12. Any other text is a task's id."""
    task_id, dot, number = text.partition(".")
    is_number = number.isascii() and number.isdigit() and number[0] != "0" and len(number) <= NUMBER_DIGITS
    if dot and is_number and number != "1":
        return TaskId(task_id), int(number)
    return TaskId(text), 1
