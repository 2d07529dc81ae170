"""Published algorithms as plainly as they can be written: row by row, from their formulas, to be compared with ours.

Each is a function of a `Problem` and gives what stays, [B, N] bool; and, where tokens are merged, the vectors that
stand there afterwards, [B, T, C] by rising slot.
"""
