"""Sort, number and look up integer keys: what labelling does most, at the price of one sort.

Shape suffixes: N rows, K distinct keys.
"""

import numpy as np

from lartpc.ingest.steps import FloatArray, IntArray
from lartpc.vocab import NONE

DENSE = 8
"""Ids that spread over no more than this many times their number are looked up in a table."""


def order_of(key_N: IntArray) -> IntArray:
    """Return the stable order (N,) of keys, none of which is negative.

    Key and row are packed into one integer where both fit: numpy sorts values many times faster than
    it sorts indices.
    """
    num_bits = len(key_N).bit_length()
    if int(key_N.max(initial=0)) >> (63 - num_bits):
        return np.argsort(key_N, kind="stable")
    packed_N = (key_N << num_bits) | np.arange(len(key_N))
    packed_N.sort()
    packed_N &= (1 << num_bits) - 1
    return packed_N


def order_of_values(value_N: FloatArray) -> IntArray:
    """Return the stable order (N,) of finite numbers."""
    order_N: IntArray = np.argsort(value_N)
    sorted_N = value_N[order_N]
    # equal numbers get the same rank, and come in the order of their rows
    rank_N = np.zeros(len(order_N), np.int64)
    np.cumsum(sorted_N[1:] != sorted_N[:-1], out=rank_N[1:])
    return order_N[order_of(rank_N * len(order_N) + order_N)]


def number(key_N: IntArray) -> tuple[IntArray, IntArray]:
    """Return the distinct keys (K,), ascending, and which of them each row has (N,)."""
    order_N = order_of(key_N)
    sorted_N = key_N[order_N]
    new_N = np.ones(len(key_N), np.bool_)
    np.not_equal(sorted_N[1:], sorted_N[:-1], out=new_N[1:])
    number_N = np.empty(len(key_N), np.int64)
    number_N[order_N] = np.cumsum(new_N) - 1
    return sorted_N[new_N], number_N


def number_rows(row_N: IntArray, num_rows: int) -> tuple[IntArray, IntArray]:
    """Return the distinct rows (K,) of a table of `num_rows`, ascending, and which each one is (N,).

    NONE is not one of them, and stays NONE.
    """
    used = np.zeros(num_rows + 1, np.bool_)
    used[row_N] = True
    used[NONE] = False
    number_of = np.where(used, np.cumsum(used) - 1, NONE)
    return np.flatnonzero(used), number_of[row_N]


def rows_of(wanted: IntArray, sorted_ids: IntArray) -> IntArray:
    """Return the row of each wanted value in a sorted array, NONE where it is not there."""
    if not len(sorted_ids):
        return np.full(len(wanted), NONE, np.int64)
    low = int(sorted_ids[0])
    num_slots = int(sorted_ids[-1]) - low + 1
    if num_slots > DENSE * (len(sorted_ids) + len(wanted)):
        row = np.minimum(np.searchsorted(sorted_ids, wanted), len(sorted_ids) - 1)
        return np.where(sorted_ids[row] == wanted, row, NONE)
    table = np.full(num_slots + 1, NONE, np.int64)
    table[sorted_ids - low] = np.arange(len(sorted_ids))
    slot = np.clip(wanted, low - 1, low + num_slots) - low
    slot[slot < 0] = num_slots
    return table[slot]
