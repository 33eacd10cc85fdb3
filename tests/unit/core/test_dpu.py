"""A DPU is known by its fingerprint, as Vitis AI's target factory has them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.catalog.targets import targets
from edgekit.core.dpu import named, read_fingerprint, write_fingerprint
from edgekit.core.firmware import mismatches

RELEASED = {
    "B512": "0x101000056010200", "B800": "0x101000056010201", "B1024": "0x101000056010402",
    "B1152": "0x101000056010203", "B1600": "0x101000056010404", "B2304": "0x101000056010405",
    "B3136": "0x101000056010406", "B4096": "0x101000056010407",
}  # fmt: skip


@pytest.mark.parametrize("size", RELEASED)
def test_the_fingerprint_of_each_size_is_the_one_that_amd_released(size: str) -> None:
    assert write_fingerprint(size) == RELEASED[size]
    arch = read_fingerprint(RELEASED[size])
    assert arch is not None
    assert (arch.size, arch.isa, arch.argmax) == (size, 1, True)
    assert size == f"B{2 * arch.pixels * arch.channels**2}"


def test_vitis_ai_2_5_and_3_0_differ_by_one_feature() -> None:
    old = read_fingerprint(write_fingerprint("B3136", argmax=False))
    assert old is not None
    assert (old.name, old.argmax) == ("DPUCZDX8G_ISA1_B3136", False)


@pytest.mark.parametrize(
    "text", ["", "0x", "0x80000000020c242", "0x603000b16011831", "0x10100005601040f", "DPU", "0x1_0"]
)
def test_what_is_no_fingerprint_of_such_a_dpu_names_none(text: str) -> None:
    assert read_fingerprint(text) is None
    assert named(text) == text


@given(st.text(max_size=40))
def test_a_device_may_say_anything(text: str) -> None:
    assert read_fingerprint(text) is None or text.strip()


def test_each_vitis_target_names_the_dpu_of_its_fingerprint() -> None:
    for target in targets():
        if target.format == "vitis_ai":
            requires = dict(target.requires)
            arch = read_fingerprint(requires["dpu_fingerprint"])
            assert arch is not None
            assert arch.name == requires["dpu"]
            assert arch.channels == target.limits.channel_multiple


def test_a_board_with_another_dpu_is_told_of_with_both_sizes() -> None:
    wanted = (("dpu_fingerprint", "0x101000056010407"),)
    assert mismatches(wanted, (("dpu_fingerprint", "0x101000056010406"),)) == (
        "needs dpu_fingerprint 0x101000056010407 (DPUCZDX8G_ISA1_B4096), "
        "the device has 0x101000056010406 (DPUCZDX8G_ISA1_B3136)",
    )
    assert mismatches(wanted, wanted) == ()
