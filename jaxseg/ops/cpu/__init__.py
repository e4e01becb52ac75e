"""The CPU's forms of the ops: the same sums in an order that XLA's CPU backend is fast at.

`jaxseg.ops.dispatch` chooses them. They have reverse-mode derivatives of the first order, and
`vmap`.
"""
