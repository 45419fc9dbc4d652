"""Label Studio's run-length code of a brush: from masks, to masks.

A picture of height x width pixels of four bytes (the last is how opaque the stroke is) as bits: 32 of the number of bytes, 5
of the bits of a value less one, four times 4 of the lengths that a run's length may have in bits less one; then runs: a
bit that says whether it is one value many times or many values, 2 that choose one of the four lengths, the run's length
less one, the value or values. The bits are a list of bytes, the last filled with zeros.
"""

import numpy as np

_CHANNELS, _VALUE_BITS, _LENGTH_BITS = 4, 8, (3, 4, 8, 16)
_HEAD = 32 + 5 + 4 * 4  # bits


def encode_brush(mask: np.ndarray) -> list[int]:
    """A height x width bool mask as the bytes of its code."""
    flat = mask.ravel()
    starts = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
    lengths = np.diff(np.append(starts, flat.size)) * _CHANNELS
    bits = [f"{flat.size * _CHANNELS:032b}{_VALUE_BITS - 1:05b}"]
    bits += [f"{length - 1:04b}" for length in _LENGTH_BITS]
    for length, value in zip(lengths.tolist(), flat[starts].tolist()):
        while length:
            part = min(length, 1 << _LENGTH_BITS[-1])
            choice = next(i for i, width in enumerate(_LENGTH_BITS) if part <= 1 << width)
            bits.append(f"1{choice:02b}{part - 1:0{_LENGTH_BITS[choice]}b}{255 * value:08b}")
            length -= part
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return list(int(text, 2).to_bytes(len(text) // 8, "big"))


def decode_brush(code: object, height: int, width: int) -> np.ndarray:
    """The height x width bool mask of a code: the pixels that are not wholly transparent. Raises ValueError where it is none
    of a picture of that size."""
    if not isinstance(code, list) or not all(type(v) is int and 0 <= v < 256 for v in code):
        raise ValueError("a brush is a list of bytes")
    bits = np.unpackbits(np.array(code, np.uint8))
    total = height * width * _CHANNELS
    if len(bits) < _HEAD or _number(bits[:32]) != total:
        found = _number(bits[:32]) // _CHANNELS if len(bits) >= 32 else 0
        raise ValueError(f"a brush of {found} pixels in a picture of height and width {[height, width]}")
    value_bits = _number(bits[32:37]) + 1
    length_bits = [_number(bits[37 + 4 * i : 41 + 4 * i]) + 1 for i in range(4)]
    values, place, done = np.zeros(total, np.uint8), _HEAD, 0
    while done < total:
        if place + 3 > len(bits):
            raise ValueError("a brush that ends within a run")
        same, length_size = bits[place], length_bits[_number(bits[place + 1 : place + 3])]
        place += 3
        length = _number(bits[place : place + length_size]) + 1
        place += length_size
        size = value_bits if same else value_bits * length
        if place + size > len(bits) or done + length > total:
            raise ValueError("a brush that ends within a run, or is longer than its picture")
        if same:
            values[done : done + length] = min(_number(bits[place : place + size]), 255)
        else:
            each = bits[place : place + size].reshape(length, value_bits)
            values[done : done + length] = each.any(1)
        place, done = place + size, done + length
    return values.reshape(height, width, _CHANNELS)[..., -1] > 0


def _number(bits: np.ndarray) -> int:
    number = 0
    for bit in bits.tolist():
        number = 2 * number + bit
    return number
