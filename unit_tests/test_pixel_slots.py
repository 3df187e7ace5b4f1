"""Pixels come out of a slot as they went in, in whichever process, and its slot is free again."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import service.pixel_slots
from service.images import Pixels
from service.pixel_slots import PixelSlots, Place

_SIZE = 4

_TAKE_IN_A_CHILD = """
import multiprocessing

import numpy as np

from service.pixel_slots import PixelSlots


def take(slots, places):
    for place in places:
        pixels = np.empty((4, 4, 3), np.uint8)
        slots.take(place, out=pixels)
        print(place, set(pixels.ravel().tolist()), flush=True)


if __name__ == "__main__":
    slots = PixelSlots(4)
    free = slots.free
    places = [slots.put(np.full((4, 4, 3), value, np.uint8)) for value in (7, 9)]
    child = multiprocessing.get_context("spawn").Process(target=take, args=(slots, places))
    child.start()
    child.join()
    print(free - slots.free)
"""


@pytest.fixture
def slots(monkeypatch: pytest.MonkeyPatch) -> PixelSlots:
    """Room for three images, and a little more."""
    monkeypatch.setattr(service.pixel_slots, "_SHARED_BYTES", 3 * _SIZE * _SIZE * 3 + 10)
    return PixelSlots(_SIZE)


def _image(value: int) -> Pixels:
    return np.full((_SIZE, _SIZE, 3), value, np.uint8)


def _take(slots: PixelSlots, place: Place) -> Pixels:
    out = np.empty((_SIZE, _SIZE, 3), np.uint8)
    slots.take(place, out=out)
    return out


def test_pixels_come_out_as_they_went_in(slots: PixelSlots) -> None:
    """Each from its own slot, in any order; then all slots are free."""
    places = [slots.put(_image(value)) for value in (1, 2, 3)]
    assert sorted(places) == [0, 1, 2]
    assert slots.free == 0
    for index in (1, 2, 0):
        np.testing.assert_array_equal(_take(slots, places[index]), _image(index + 1))
    assert slots.free == 3


def test_without_a_free_slot_pixels_travel_themselves(slots: PixelSlots) -> None:
    """Nothing waits and nothing is overwritten; freeing one makes room again."""
    places = [slots.put(_image(value)) for value in range(3)]
    fourth = slots.put(_image(4))
    assert isinstance(fourth, np.ndarray)
    np.testing.assert_array_equal(_take(slots, fourth), _image(4))
    assert slots.free == 0
    slots.discard(places[1])
    assert slots.put(_image(5)) == places[1]
    np.testing.assert_array_equal(_take(slots, places[0]), _image(0))


def test_pixels_without_a_slot_have_nothing_to_free(slots: PixelSlots) -> None:
    """Or a slot would be there twice."""
    slots.discard(_image(1))
    assert slots.free == 3


def test_there_is_a_slot_for_the_largest_image() -> None:
    """One at least, however large."""
    assert PixelSlots(4096).free == 1
    assert PixelSlots(224).free > 2 * 64, "two batches and what is on the way"


def test_what_one_process_puts_another_takes(tmp_path: Path) -> None:
    """Also a spawned one; and what it frees is free for the first."""
    (tmp_path / "program.py").write_text(_TAKE_IN_A_CHILD)
    command = [sys.executable, str(tmp_path / "program.py")]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    finished = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=120)
    [*taken, missing] = finished.stdout.splitlines()
    assert sorted(line.split(maxsplit=1)[1] for line in taken) == ["{7}", "{9}"]
    assert missing == "0"
