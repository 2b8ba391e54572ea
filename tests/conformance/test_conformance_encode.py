"""What Rust writes, in the same bytes: records, times, f32, heartbeats, the escalation log."""

import base64
import struct

import pytest
from conformance_rows import TYPES, rows_of

from omkd.protocol import codec
from omkd.protocol.escalation import EscalationKind, EscalationLogEntry, entry_from_event
from omkd.protocol.events import Event
from omkd.protocol.records import Heartbeat, WorkerSpec
from omkd.protocol.scalars import F32, HeartbeatNs, Ns
from omkd.protocol.timestamps import format_ns, parse_timestamp

ENCODE = rows_of("encode")


def rows_of_type(*types):
    return [row for row in ENCODE if row["type"] in types]


def entry_with(*, ts: int = 0, confidence: float | None = None) -> EscalationLogEntry:
    return EscalationLogEntry(
        ts=Ns(ts),
        kind=EscalationKind.FAILED,
        summary="",
        confidence=None if confidence is None else F32(confidence),
        auto_proceed=False,
    )


def test_each_row_of_encode_has_a_test():
    tested = {"WorkerSpec", "WorkerTask", "WorkerResult", "EscalationLogEntry.ts", "EscalationLogEntry.confidence"}
    assert {row["type"] for row in ENCODE} == tested


@pytest.mark.parametrize("row", rows_of_type("WorkerSpec"), ids=lambda row: row["note"])
def test_a_spec_is_written_pretty(row):
    spec = codec.structure(row["value"], WorkerSpec)
    assert codec.dumps_pretty(spec).decode() == row["text"]
    assert codec.loads(row["text"], WorkerSpec) == spec


@pytest.mark.parametrize("row", rows_of_type("WorkerTask", "WorkerResult"), ids=lambda row: row["note"])
def test_a_line_is_written_compact(row):
    value = codec.structure(row["value"], TYPES[row["type"]])
    assert codec.dumps(value).decode() == row["text"]
    assert codec.loads(row["text"], TYPES[row["type"]]) == value


@pytest.mark.parametrize("row", rows_of_type("EscalationLogEntry.ts"), ids=lambda row: row["text"])
def test_a_time_is_written_with_the_fewest_digits(row):
    if row["year_out_of_range"]:
        with pytest.raises(ValueError, match="years 0000 to 9999"):
            format_ns(row["value"])
    elif row["leap_second"]:
        with pytest.raises(ValueError, match="no leap second"):
            parse_timestamp(row["text"])
    else:
        assert codec.dumps(entry_with(ts=row["value"])).startswith(b'{"ts":"%s",' % row["text"].encode())
        assert parse_timestamp(row["text"]) == row["value"]


@pytest.mark.parametrize("row", rows_of_type("EscalationLogEntry.confidence"), ids=lambda row: row["value"])
def test_an_f32_is_written_as_ryu_writes_it(row):
    [number] = struct.unpack(">f", bytes.fromhex(row["value"]))
    assert b'"confidence":%s,' % row["text"].encode() in codec.dumps(entry_with(confidence=number))


@pytest.mark.parametrize("row", rows_of("heartbeats"), ids=lambda row: row["text"])
def test_a_heartbeat_is_written_with_its_offset(row):
    value = row["value"]
    ts = HeartbeatNs(value["secs"] * 1_000_000_000 + value["nanos"])
    heartbeat = Heartbeat(status=value["status"], name=value["name"], ts=ts)
    assert codec.dumps(heartbeat).decode() == row["text"]
    assert codec.loads(row["text"], Heartbeat) == heartbeat


@pytest.mark.parametrize("row", rows_of("escalations"), ids=str)
def test_an_event_becomes_rusts_line_of_the_escalation_log(row):
    event: Event = codec.structure(row["event"], Event)
    entry = entry_from_event(event, parse_timestamp(row["ts"]))
    assert (entry and codec.dumps(entry).decode()) == row["line"]
    assert codec.loads(codec.dumps(event), Event) == event


@pytest.mark.parametrize(
    "row",
    [row for row in rows_of("files") if row["kind"] == "load_spec" and row["file_b64"]],
    ids=lambda row: row["note"],
)
def test_a_spec_file_is_read_or_refused_as_rust_does(row):
    data = base64.b64decode(row["file_b64"])
    if row["ok"]:
        assert codec.dumps(codec.loads(data, WorkerSpec)).decode() == row["reserialized"]
    else:
        with pytest.raises(codec.CodecError):
            codec.loads(data, WorkerSpec)
