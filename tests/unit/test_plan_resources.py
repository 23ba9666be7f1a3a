"""linux.resources as unit properties: the numbers by hand, their order, what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from pyoci_systemd.errors import SpecError
from pyoci_systemd.plan import plan, resources
from pyoci_systemd.plan.limits import cpu, cpuset
from tests.unit.plans import facts, limited, request

INFINITY = 2**64 - 1


def planned(**asked: Any) -> Any:
    limits: Any = asked
    return resources.properties(limits)


def refusal(**asked: Any) -> str:
    with pytest.raises(SpecError) as caught:
        planned(**asked)
    return caught.value.message


# -- cpu.shares → cpu.weight


@pytest.mark.parametrize(("shares", "weight"), [
    (0, 1), (1, 1), (2, 1),
    # ceil(10^((l² + 125 l) / 612 - 7 / 34)), l = log2(shares)
    (3, 2), (4, 2), (16, 5), (128, 21), (256, 35), (512, 59),
    (1000, 99),  # l = 9.9658: exponent 1.9920, 98.2
    (1024, 100), (1025, 101), (2048, 174), (4096, 303), (10240, 639),
    (262143, 10000), (262144, 10000), (262145, 10000), (2**63, 10000),
])  # fmt: skip
def test_weight(shares: int, weight: int) -> None:
    assert cpu.weight(shares) == weight


@pytest.mark.parametrize("power", range(2, 19))
def test_weight_of_powers_of_two_exactly(power: int) -> None:
    """For shares = 2^l the exponent is a fraction n/612, so `ceil` can be checked without floating point."""
    n = power * power + 125 * power - 126  # 7/34 = 126/612
    weight = cpu.weight(2**power)
    assert (weight - 1) ** 612 < 10**n <= weight**612


def test_weight_never_falls_and_stays_in_range() -> None:
    weights = [cpu.weight(shares) for shares in [*range(5000), *range(5000, 262200, 101)]]
    assert weights == sorted(weights)
    assert (weights[0], weights[-1]) == (1, 10000)


# -- cpu


@pytest.mark.parametrize(("cpu", "expected"), [
    ({}, []),
    ({"shares": 0}, []),
    ({"shares": 1024}, [("CPUWeight", "t", 100)]),
    ({"quota": 50000, "period": 100000}, [("CPUQuotaPerSecUSec", "t", 500_000), ("CPUQuotaPeriodUSec", "t", 100_000)]),
    ({"quota": 200000, "period": 50000}, [("CPUQuotaPerSecUSec", "t", 4_000_000), ("CPUQuotaPeriodUSec", "t", 50_000)]),
    ({"quota": 50000}, [("CPUQuotaPerSecUSec", "t", 500_000)]),  # the period is 100 ms unless one is given
    ({"quota": 25000, "period": 0}, [("CPUQuotaPerSecUSec", "t", 250_000)]),
    ({"period": 25000}, [("CPUQuotaPeriodUSec", "t", 25_000)]),
    ({"quota": -1, "period": 100000}, [("CPUQuotaPerSecUSec", "t", INFINITY), ("CPUQuotaPeriodUSec", "t", 100_000)]),
    ({"quota": 0}, []),
    # steps of 10 ms a second, upwards
    ({"quota": 1000, "period": 100000}, [("CPUQuotaPerSecUSec", "t", 10_000), ("CPUQuotaPeriodUSec", "t", 100_000)]),
    ({"quota": 1001, "period": 100000}, [("CPUQuotaPerSecUSec", "t", 20_000), ("CPUQuotaPeriodUSec", "t", 100_000)]),
    ({"quota": 1, "period": 1000000}, [("CPUQuotaPerSecUSec", "t", 10_000), ("CPUQuotaPeriodUSec", "t", 1_000_000)]),
    ({"quota": 33333, "period": 100000}, [("CPUQuotaPerSecUSec", "t", 340_000), ("CPUQuotaPeriodUSec", "t", 100_000)]),
    ({"quota": 10000, "period": 30000}, [("CPUQuotaPerSecUSec", "t", 340_000), ("CPUQuotaPeriodUSec", "t", 30_000)]),
    ({"cpus": "0-2,7"}, [("AllowedCPUs", "ay", b"\x87")]),
    ({"mems": "0"}, [("AllowedMemoryNodes", "ay", b"\x01")]),
    ({"cpus": "", "mems": ""}, []),
])  # fmt: skip
def test_cpu(cpu: dict[str, Any], expected: list[Any]) -> None:
    assert planned(cpu=cpu) == expected


@pytest.mark.parametrize(("text", "bits"), [
    ("0", {0}),
    ("7", {7}),
    ("8", {8}),
    ("0-3", {0, 1, 2, 3}),
    ("0-2,7", {0, 1, 2, 7}),
    ("7,0-2", {0, 1, 2, 7}),
    ("3,3,3", {3}),
    ("5-5", {5}),
    (" 1 , 3-4\n", {1, 3, 4}),
    ("64,128-130", {64, 128, 129, 130}),
    ("8191", {8191}),
])  # fmt: skip
def test_mask(text: str, bits: set[int]) -> None:
    mask = cpuset.mask(text, "")
    assert {at for at in range(len(mask) * 8) if mask[at // 8] >> (at % 8) & 1} == bits
    assert len(mask) == max(bits) // 8 + 1


@pytest.mark.parametrize("text", [
    ",", "0,", ",0", "a", "0-", "-1", "1-2-3", "3-1", "0x1", "1 2", "1_0", "٣", "８", "0-8192", "8192", "1.5", "+1",
    "0-3:1/2", "9" * 30, pytest.param("9" * 5000, id="endless"), pytest.param("0-" + "9" * 5000, id="0-endless"),
])  # fmt: skip
def test_no_mask(text: str) -> None:
    message = refusal(cpu={"cpus": text})
    assert message.startswith("config.json: linux.resources.cpu")
    assert message.endswith(" is not a list of numbers and ranges")


# -- memory and tasks


@pytest.mark.parametrize(("memory", "expected"), [
    ({}, []),
    ({"limit": 0, "reservation": 0, "swap": 0}, []),
    ({"limit": 1 << 20}, [("MemoryMax", "t", 1 << 20)]),
    ({"limit": -1}, [("MemoryMax", "t", INFINITY)]),
    ({"reservation": 4096}, [("MemoryLow", "t", 4096)]),
    # swap is the sum; systemd counts swap alone
    ({"limit": 100, "swap": 300}, [("MemoryMax", "t", 100), ("MemorySwapMax", "t", 200)]),
    ({"limit": 100, "swap": 100}, [("MemoryMax", "t", 100), ("MemorySwapMax", "t", 0)]),
    ({"limit": 100, "swap": -1}, [("MemoryMax", "t", 100), ("MemorySwapMax", "t", INFINITY)]),
    ({"limit": -1, "swap": -1}, [("MemoryMax", "t", INFINITY), ("MemorySwapMax", "t", INFINITY)]),
    ({"swap": -1}, [("MemorySwapMax", "t", INFINITY)]),
    ({"limit": 2**62, "reservation": 2**61, "swap": 2**62 + 1},
     [("MemoryMax", "t", 2**62), ("MemoryLow", "t", 2**61), ("MemorySwapMax", "t", 1)]),
])  # fmt: skip
def test_memory(memory: dict[str, Any], expected: list[Any]) -> None:
    assert planned(memory=memory) == expected


@pytest.mark.parametrize("memory", [
    {"swap": 100},
    {"limit": 0, "swap": 100},
    {"limit": -1, "swap": 100},
    {"limit": 101, "swap": 100},
])  # fmt: skip
def test_impossible_memory(memory: dict[str, Any]) -> None:
    message = refusal(memory=memory)
    assert message.startswith("config.json: linux.resources.memory.swap ")
    assert "memory.limit" in message


@pytest.mark.parametrize(
    ("limit", "expected"),
    [(0, []), (1, [("TasksMax", "t", 1)]), (-1, [("TasksMax", "t", INFINITY)]), (4096, [("TasksMax", "t", 4096)])],
)
def test_tasks(limit: int, expected: list[Any]) -> None:
    assert planned(pids={"limit": limit}) == expected


# -- what only cgroup v1 has

V1 = [
    ("memory.kernel", {"memory": {"kernel": 1}}),
    ("memory.kernelTCP", {"memory": {"kernelTCP": 1}}),
    ("memory.swappiness", {"memory": {"swappiness": 60}}),
    ("memory.disableOOMKiller", {"memory": {"disableOOMKiller": True}}),
    ("cpu.realtimeRuntime", {"cpu": {"realtimeRuntime": 1}}),
    ("cpu.realtimePeriod", {"cpu": {"realtimePeriod": 1}}),
    ("blockIO.leafWeight", {"blockIO": {"leafWeight": 10}}),
    ("network.classID", {"network": {"classID": 1}}),
    ("network.priorities", {"network": {"priorities": [{"name": "eth0", "priority": 1}]}}),
]


@pytest.mark.parametrize(("what", "asked"), V1)
def test_limit_of_v1_is_refused(what: str, asked: dict[str, Any]) -> None:
    assert refusal(**asked) == f"config.json: linux.resources.{what}: cgroup v2 has no such limit"


@pytest.mark.parametrize("manager", ["auto", "systemd", "cgroupfs", "disabled"])
@pytest.mark.parametrize(("what", "asked"), V1)
def test_no_manager_ignores_a_limit(what: str, asked: dict[str, Any], manager: str) -> None:
    with pytest.raises(SpecError, match=rf"^config\.json: linux\.resources\.{what}: cgroup v2 has no such limit$"):
        plan.make(limited(**asked), facts(), request(manager=manager))


@pytest.mark.parametrize("asked", [
    {"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}, {"rdma": {"mlx5_1": {"hcaHandles": 3}}},
    {"cpu": {"burst": 1}}, {"unified": {"x.y": "1"}}, {"pids": {"limit": 1}},
])  # fmt: skip
def test_limits_need_a_cgroup(asked: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="cannot set limits without cgroups"):
        plan.make(limited(**asked), facts(), request(manager="disabled"))


@pytest.mark.parametrize(("asked", "words"), [
    ({"memory": {"swap": 100}}, "memory.limit"),
    ({"memory": {"limit": 101, "swap": 100}}, "memory.limit"),
    ({"cpu": {"cpus": "3-1"}}, "not a list"),
])  # fmt: skip
@pytest.mark.parametrize("manager", ["systemd", "cgroupfs"])
def test_nonsense_is_refused_whoever_keeps_the_cgroup(asked: dict[str, Any], words: str, manager: str) -> None:
    with pytest.raises(SpecError, match=words):
        plan.make(limited(**asked), facts(), request(manager=manager))


@pytest.mark.parametrize("empty", [
    {}, {"blockIO": {}}, {"blockIO": {"weight": 0, "weightDevice": []}}, {"hugepageLimits": []}, {"rdma": {}},
    {"unified": {}}, {"network": {}}, {"memory": {"disableOOMKiller": False, "useHierarchy": True}}, {"network": {"classID": 0}}, {"cpu": {"realtimePeriod": 0, "idle": 0}},
    {"memory": {}, "cpu": {}, "pids": {}},
])  # fmt: skip
def test_clients_write_empty_sections(empty: dict[str, Any]) -> None:
    assert planned(**empty) == []
    asked: Any = {section: value for section, value in empty.items() if section != "cpu"}
    assert resources.files(asked) == []


def test_swappiness_of_zero_is_a_wish() -> None:
    """0 is a value as any other here: `no swapping`. What is not kept is refused, not taken for absent."""
    assert (
        refusal(memory={"swappiness": 0})
        == "config.json: linux.resources.memory.swappiness: cgroup v2 has no such limit"
    )


def test_order_of_all() -> None:
    made = planned(
        pids={"limit": 5},
        devices=[{"allow": False, "access": "rwm"}],
        cpu={"mems": "0", "cpus": "0", "period": 1000, "quota": 1000, "shares": 2},
        memory={"swap": 2, "reservation": 1, "limit": 1},
    )
    assert [name for name, _, _ in made] == [
        "MemoryMax", "MemoryLow", "MemorySwapMax",
        "CPUWeight", "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec", "AllowedCPUs", "AllowedMemoryNodes",
        "TasksMax",
        "DeviceAllow", "DevicePolicy", "DeviceAllow",
    ]  # fmt: skip
