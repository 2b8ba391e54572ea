"""`escalations.pos`: how far `pending_escalations.jsonl` is written."""

import logging
import os
from pathlib import Path

from attrs import frozen

from omkd.protocol import codec
from omkd.protocol.scalars import U64, Seq
from omkd.store.files import SMALL_FILE_BYTES, atomic_write, read_regular

logger = logging.getLogger(__name__)


@frozen(kw_only=True)
class EscalationsPos:
    """`{"inode":1234,"offset":5678,"seq":90}`: before `offset` stand the lines of the units up to `seq`."""

    inode: U64
    offset: U64
    seq: Seq


def write_pos(path: Path, pos: EscalationsPos, descriptor: int | None) -> None:
    """Durability: the lines first, then the position. Raises OSError."""
    if descriptor is not None:
        os.fdatasync(descriptor)
    atomic_write(path, codec.dumps(pos))


def load_pos(path: Path) -> EscalationsPos:
    try:
        return codec.loads(read_regular(path, SMALL_FILE_BYTES), EscalationsPos)
    except FileNotFoundError:
        return EscalationsPos(inode=U64(0), offset=U64(0), seq=Seq(0))
    except (OSError, ValueError) as fault:
        logger.warning("%s is not readable (%s): the whole escalation log is compared", path, fault)
        return EscalationsPos(inode=U64(0), offset=U64(0), seq=Seq(0))
