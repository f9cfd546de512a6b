"""The harness's result file, written by the real protocol buffers and read by hand."""

import hypothesis
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from hypothesis import strategies

from tfseg.bench import wire
from tfseg.bench.result import Figures

Field = descriptor_pb2.FieldDescriptorProto
MESSAGES = {
    "LatencyMetrics": ["avg", "min", "max", "stddev", "median", "p5", "p95", "init", "first_inference", "warm_up"],
    "MemoryMetrics": ["init_footprint_kb", "overall_footprint_kb", "peak_mem_mb"],
    "MiscMetrics": ["model_size_mb", "num_runs", "num_warmup_runs", "throughput"],
}
WHOLE_NUMBERS = {"init_footprint_kb", "overall_footprint_kb", "num_runs", "num_warmup_runs"}


def message_class(number: int):
    """Build the message with numbers of one type, as benchmark_result.proto numbers its fields."""
    file = descriptor_pb2.FileDescriptorProto(name=f"b{number}.proto", package=f"b{number}", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for place, field in enumerate(fields, 1):
            kind = Field.TYPE_INT64 if field in WHOLE_NUMBERS else number
            message.field.add(name=field, number=place, type=kind, label=Field.LABEL_OPTIONAL)
    result = file.message_type.add(name="BenchmarkResult")
    result.field.add(name="name", number=1, type=Field.TYPE_STRING, label=Field.LABEL_OPTIONAL)
    for place, name in enumerate(MESSAGES, 2):
        result.field.add(
            name=name, number=place, type=Field.TYPE_MESSAGE, type_name=f".b{number}.{name}", label=Field.LABEL_OPTIONAL
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"b{number}.BenchmarkResult"))


FLOATS, DOUBLES = message_class(Field.TYPE_FLOAT), message_class(Field.TYPE_DOUBLE)


def result(kind=FLOATS, *, stddev=1.929, least=77.385, most=88.213, footprint_kb=8192):
    message = kind(name="unet")
    latencies = [79.732, least, most, stddev, 79.6, 77.51, 83.02, 5.685, 98.535, 84.5]
    if least == most:
        latencies = [least, least, most, stddev, least, least, least, 5.685, 98.535, 84.5]
    for name, value in zip(MESSAGES["LatencyMetrics"], latencies, strict=True):
        setattr(message.LatencyMetrics, name, value)
    message.MemoryMetrics.init_footprint_kb = footprint_kb
    message.MemoryMetrics.overall_footprint_kb = 12800
    message.MiscMetrics.model_size_mb = 5.28
    message.MiscMetrics.num_runs = 50
    message.MiscMetrics.num_warmup_runs = 6
    return message.SerializeToString()


FIGURES = Figures(
    runs=50,
    warmup_runs=6,
    init_ms=5.685,
    first_ms=98.535,
    median_ms=79.6,
    mean_ms=79.732,
    p5_ms=77.51,
    p95_ms=83.02,
    sd_ms=1.929,
    min_ms=77.385,
    max_ms=88.213,
    memory_init_mb=8.0,
    memory_overall_mb=12.5,
)


@pytest.mark.parametrize("kind", [FLOATS, DOUBLES], ids=["float", "double"])
def test_every_figure_is_read(kind):
    assert wire.read(result(kind)) == FIGURES


def test_a_spread_of_nothing_is_not_written_and_read_all_the_same():
    found = wire.read(result(stddev=0.0, least=80.0, most=80.0))
    assert found is not None
    assert (found.sd_ms, found.mean_ms) == (0.0, 80.0)


def test_a_process_that_shrank_tells_no_memory():
    found = wire.read(result(footprint_kb=-4))
    assert found is not None
    assert (found.memory_init_mb, found.memory_overall_mb) == (None, 12.5)


@pytest.mark.parametrize("data", [b"", b"\x0a\x04unet", b"<html>", bytes(100), b"\xff" * 100], ids=repr)
def test_what_is_no_result_is_none(data):
    assert wire.read(data) is None


@hypothesis.given(strategies.integers(0, 10**6))
def test_a_result_that_is_cut_off_holds_no_wrong_number(place):
    data = result()
    found = wire.read(data[: place % len(data)])
    assert found in (None, FIGURES)


@hypothesis.given(strategies.binary(max_size=200))
def test_any_bytes_can_be_read(data):
    wire.read(data)


@hypothesis.given(strategies.integers(0, 10**6), strategies.binary(min_size=1, max_size=3))
def test_damaged_bytes_raise_nothing(place, damage):
    data = bytearray(result())
    data[place % len(data) : place % len(data) + len(damage)] = damage
    wire.read(bytes(data))
