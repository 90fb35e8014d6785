"""The Reed-Solomon code of the eFuse blocks: RS(44, 32) over GF(2^8), polynomial 0x11D, roots 2^0 to 2^11."""

from __future__ import annotations

from functools import cache

DATA_BYTES = 32
CHECK_BYTES = 12
_POLYNOMIAL = 0x11D


@cache
def _tables() -> tuple[list[int], list[int]]:
    powers, logs = [0] * 510, [0] * 256
    value = 1
    for exponent in range(255):
        powers[exponent] = powers[exponent + 255] = value
        logs[value] = exponent
        value <<= 1
        if value & 0x100:
            value ^= _POLYNOMIAL
    return powers, logs


def _multiply(a: int, b: int) -> int:
    powers, logs = _tables()
    return powers[logs[a] + logs[b]] if a and b else 0


@cache
def _generator() -> tuple[int, ...]:
    """The generator polynomial's coefficients, highest power first, without the leading one."""
    powers, _ = _tables()
    polynomial = [1]
    for root in range(CHECK_BYTES):
        shifted = [*polynomial, 0]
        for index, coefficient in enumerate(polynomial):
            shifted[index + 1] ^= _multiply(coefficient, powers[root])
        polynomial = shifted
    return tuple(polynomial[1:])


def check_bytes(data: bytes) -> bytes:
    """The twelve check bytes of 32 data bytes."""
    if len(data) != DATA_BYTES:
        raise ValueError(f"a block has {DATA_BYTES} bytes, not {len(data)}")
    remainder = [0] * CHECK_BYTES
    for byte in data:
        factor = byte ^ remainder[0]
        remainder = [*remainder[1:], 0]
        for index, coefficient in enumerate(_generator()):
            remainder[index] ^= _multiply(factor, coefficient)
    return bytes(remainder)
