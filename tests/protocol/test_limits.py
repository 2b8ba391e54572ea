import re
from pathlib import Path

from omkd.protocol import limits


def test_each_limit_has_its_reason_below_it() -> None:
    text = Path(str(limits.__file__)).read_text()
    names = re.findall(r"^([A-Z_]+)(?:: Final)? = ", text, re.MULTILINE)
    assert len(names) > 15
    without = [name for name in names if not re.search(rf'^{name}(?:: Final)? = .*\n"""\S', text, re.MULTILINE)]
    assert without == []
